import { EventEmitter, once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { BuildError } from '../../process/errors.ts';

/** QEMU makes its sockets within a second; more on a busy machine. */
const CONNECT_LIMIT_MS = 20_000;
/** Milliseconds: commands are answered at once, by a machine that is busy within seconds. */
const ANSWER_LIMIT_MS = 10_000;
/** Saving and restoring a moment take tenths of a second, on a busy disk far longer. */
const HUMAN_LIMIT_MS = 300_000;

/** Connects to a unix socket that a child is about to make. */
export async function connectWhenThere(path: string, alive: () => boolean): Promise<Socket> {
  const until = Date.now() + CONNECT_LIMIT_MS;
  while (Date.now() < until && alive()) {
    if (existsSync(path)) {
      const socket = connect(path);
      try {
        await once(socket, 'connect');
        return socket;
      } catch {
        socket.destroy(); // made but not yet listening
      }
    }
    await sleep(100);
  }
  throw new BuildError('vm', 'QEMU did not open its sockets', 'read its log');
}

/**
 * QEMU's control channel (https://www.qemu.org/docs/master/interop/qmp-intro.html): one JSON object a line.
 * Emits QEMU's events by name (`RESET`, `SHUTDOWN`, …) and `close`.
 */
export class Qmp extends EventEmitter {
  readonly #socket: Socket;
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  #next = 1;

  private constructor(socket: Socket) {
    super();
    this.#socket = socket;
    socket.on('error', () => {}); // followed by close
    socket.on('close', () => {
      for (const { reject } of this.#waiting.values()) reject(new BuildError('vm', 'QEMU has ended', 'read its log'));
      this.#waiting.clear();
      this.emit('close');
    });
    createInterface({ input: socket }).on('line', (line) => this.#receive(line));
  }

  /** @param limitMs for its first answer, which comes when the machine is made. */
  static async open(path: string, alive: () => boolean, limitMs = CONNECT_LIMIT_MS): Promise<Qmp> {
    const qmp = new Qmp(await connectWhenThere(path, alive));
    try {
      await qmp.execute('qmp_capabilities', {}, limitMs);
      return qmp;
    } catch (error) {
      qmp.close();
      throw error;
    }
  }

  get closed(): boolean {
    return this.#socket.destroyed;
  }

  /** @throws BuildError with QEMU's words when it refuses, has ended, or hasn't answered within `limitMs`. */
  async execute(command: string, args: Record<string, unknown> = {}, limitMs = ANSWER_LIMIT_MS): Promise<unknown> {
    if (this.closed) throw new BuildError('vm', 'QEMU has ended', 'read its log');
    const id = this.#next++;
    const answer = new Promise<unknown>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    const timer = setTimeout(() => {
      const why = `QEMU has not answered ${command} in ${limitMs / 1000} s`;
      this.#waiting.get(id)?.reject(new BuildError('vm', why, 'is the machine overloaded? read its log'));
      this.#waiting.delete(id);
    }, limitMs);
    try {
      return await answer;
    } finally {
      clearTimeout(timer);
    }
  }

  /** A command of the human monitor, for what QMP doesn't have. @returns its words. */
  async monitor(command: string, limitMs?: number): Promise<string> {
    return String(await this.execute('human-monitor-command', { 'command-line': command }, limitMs)).trim();
  }

  /** A command of the human monitor, for what QMP has only as background jobs. It reports failure by its text alone. */
  async human(command: string): Promise<void> {
    const text = await this.monitor(command, HUMAN_LIMIT_MS);
    if (text) throw new BuildError('vm', `${command}: ${text}`, 'the disk must be qcow2 and have room');
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(line: string): void {
    const message = JSON.parse(line);
    if (message.event) this.emit(message.event, message.data);
    const waiting = this.#waiting.get(message.id);
    if (!waiting) return;
    this.#waiting.delete(message.id);
    if (message.error) waiting.reject(new BuildError('vm', `QEMU: ${message.error.desc}`, 'a bug in src/verify/lab'));
    else waiting.resolve(message.return);
  }
}
