import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { cacheRoot } from '../plan/cache.ts';
import { BuildError, inputError, renderError } from '../process/errors.ts';
import { interactive } from '../process/run.ts';
import type { Target } from './targets/target.ts';

/** What `verify --keep` leaves for `make shell`: who keeps the box, and the way in. */
const keptSchema = z.strictObject({ pid: z.number(), claim: z.string(), command: z.array(z.string()).optional() });

export type Kept = z.output<typeof keptSchema>;

const place = () => join(cacheRoot(), 'kept');
const recordFile = () => join(place(), 'box.json');
/** One command a line, for boxes that no program of this machine's can enter. */
const socketFile = () => join(place(), 'shell');

/**
 * Keeps a box as its last sabotage left it, until this process is interrupted; `make shell` enters it meanwhile.
 * @throws BuildError (input) when another process keeps one.
 */
export async function keep(box: Target, claim: string): Promise<never> {
  const other = keptBox();
  if (other)
    throw inputError('keep', `process ${other.pid} keeps a box already (${other.claim})`, 'end it with Ctrl-C');
  mkdirSync(place(), { recursive: true, mode: 0o700 });
  process.once('exit', () => rmSync(place(), { recursive: true, force: true }));
  const record: Kept = { pid: process.pid, claim, ...(box.shellCommand ? { command: [...box.shellCommand] } : {}) };
  if (!box.shellCommand) {
    rmSync(socketFile(), { force: true });
    createServer((socket) => serve(box, socket)).listen(socketFile());
  }
  writeFileSync(recordFile(), JSON.stringify(record));
  // Only a signal ends this.
  return new Promise<never>(() => setInterval(() => undefined, 60_000));
}

/** The box that a living process keeps, if there is one. */
export function keptBox(): Kept | undefined {
  if (!existsSync(recordFile())) return undefined;
  const { pid, ...rest } = keptSchema.parse(JSON.parse(readFileSync(recordFile(), 'utf8')));
  return existsSync(`/proc/${pid}`) ? { pid, ...rest } : undefined;
}

/** Gives this terminal a root shell in the kept box, until its user leaves it. */
export async function enterKept({ command }: Kept): Promise<void> {
  const [program, ...args] = command ?? [];
  if (program) return interactive(program, args);
  const socket = createConnection(socketFile());
  await new Promise<void>((resolve, reject) => {
    socket.once('close', () => resolve());
    socket.once('error', (cause) =>
      reject(new BuildError('shell', 'the kept machine is gone', 'keep it again', { cause })),
    );
    socket.pipe(process.stdout);
    process.stdin.pipe(socket);
  });
  process.stdin.unref();
}

/** A line is a command; each runs in a shell of its own. */
async function serve(box: Target, socket: Socket): Promise<void> {
  socket.on('error', () => undefined);
  socket.write('each line runs as root in a shell of its own; end with Ctrl-D\n# ');
  for await (const line of createInterface({ input: socket })) {
    try {
      const { stdout, stderr, exitCode } = await box.exec(line);
      socket.write(`${stdout}${stderr}${exitCode ? `(exit ${exitCode})\n` : ''}# `);
    } catch (error) {
      // A line may have turned the machine off.
      socket.write(`${renderError(error)}\n# `);
    }
  }
  socket.end('\n');
}
