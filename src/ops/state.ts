import { createReadStream, createWriteStream, rmSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { Decrypter, Encrypter } from 'age-encryption';
import { stateRecipientSchema, type Taken, takenSchema } from '../contract/ops.ts';
import type { Operator } from '../launch/operator.ts';
import { BuildError, inputError } from '../process/errors.ts';
import { start } from '../process/run.ts';
import { ask, resultOf, type Way, withCall } from './channel.ts';
import { readSigned, type Signer } from './signed.ts';
import { newNonce } from './status.ts';

/** Milliseconds until an export's first line: OpenClaw has ended by then, which an emulated box takes a minute or two for. */
const HEAD_LIMIT_MS = 10 * 60_000;
/** Characters of the first line of an answer. */
const HEAD_LIMIT = 64 * 1024;

export interface ExportOptions {
  /** End OpenClaw and the agent's sessions first. The box closes itself over it; a reboot takes that back. */
  stop: boolean;
}

export interface ImportOptions {
  /** Documents alone: nothing that a machine or the agent would act upon. */
  documents: boolean;
}

/**
 * Moves the agent's home from one instance to another; on its way it is sealed to the other. That one's home is replaced
 * when all has come, and not at all otherwise.
 * @throws BuildError where either can't be reached, believed, or doesn't take it.
 */
export async function moveState(
  from: Way,
  to: Way & Signer,
  options: ExportOptions & ImportOptions & { moved?: (bytes: number) => void },
): Promise<Taken> {
  const recipient = await recipientOf(to);
  return exportState(from, recipient, options, (sealed) => importState(to, counted(sealed, options.moved), options));
}

/**
 * Writes an instance's home to a file, sealed to the operator. Only what opens to its end is kept.
 * @throws BuildError where it isn't reached, or breaks off.
 */
export async function saveState(
  from: Way,
  file: string,
  { identity, recipient }: Operator,
  options: ExportOptions,
): Promise<void> {
  const part = `${file}.part`;
  try {
    await exportState(from, recipient, options, (sealed) =>
      pipeline(sealed, createWriteStream(part, { flags: 'w', mode: 0o600, flush: true })),
    );
    // age tells by its last piece that all is there.
    for await (const _ of await opened(part, identity)) void _;
    await rename(part, file);
  } catch (error) {
    if (error instanceof BuildError) throw error;
    throw broken(from, `the state wasn't saved: ${said(error)}`);
  } finally {
    rmSync(part, { force: true });
  }
}

/**
 * Gives an instance the home that saveState wrote.
 * @throws BuildError (input) where the file isn't sealed to this operator.
 */
export async function loadState(
  to: Way & Signer,
  file: string,
  identity: string,
  options: ImportOptions,
): Promise<Taken> {
  const encrypter = new Encrypter();
  encrypter.addRecipient(await recipientOf(to));
  const open = await opened(file, identity);
  return importState(to, fromWeb(await encrypter.encrypt(open)), options);
}

async function opened(file: string, identity: string): Promise<ReadableStream<Uint8Array>> {
  const decrypter = new Decrypter();
  decrypter.addIdentity(identity);
  try {
    return await decrypter.decrypt(Readable.toWeb(createReadStream(file)) as ReadableStream<Uint8Array>);
  } catch (error) {
    throw inputError(
      'ops',
      `${file} can't be opened: ${said(error)}`,
      'it is what state-export wrote, sealed to your key',
    );
  }
}

async function recipientOf(to: Way & Signer): Promise<string> {
  const nonce = newNonce();
  const result = await ask(to, 'state-import', { step: 'prepare', nonce });
  return readSigned(result, stateRecipientSchema, { ...to, purpose: 'state', nonce }).recipient;
}

function exportState<T>(
  from: Way,
  recipient: string,
  { stop }: ExportOptions,
  use: (sealed: Readable) => Promise<T>,
): Promise<T> {
  return withCall(from, 'state-export', { recipient, stop }, async ({ words, line }) => {
    const child = start('ssh', words, { input: line, stdout: 'pipe', stderr: 'pipe', buffer: { stdout: false } });
    try {
      // A box that is hung, or hostile, says nothing for ever.
      const { head, rest } = await Promise.race([
        firstLine(child.stdout as Readable),
        sleep(HEAD_LIMIT_MS, undefined, { ref: false }).then(() => {
          throw broken(from, `it said nothing in ${HEAD_LIMIT_MS / 60_000} minutes`);
        }),
      ]);
      if (!head.endsWith('\n') || !head.startsWith('{"ok": true,')) {
        const { stderr } = await child;
        resultOf(from.instance_id, 'state-export', head, String(stderr ?? ''));
      }
      const result = await use(Readable.from(rest));
      const { exitCode } = await child;
      if (exitCode !== 0) throw broken(from, `the stream of the state broke off (${exitCode})`);
      return result;
    } finally {
      child.kill();
      await child;
    }
  });
}

function importState(to: Way, sealed: Readable, { documents }: ImportOptions): Promise<Taken> {
  return withCall(to, 'state-import', { step: 'take', documents }, async ({ words, line }) => {
    const child = start('ssh', words, { stdin: 'pipe', stdout: 'pipe', stderr: 'pipe' });
    const into = child.stdin as NonNullable<typeof child.stdin>;
    let failed: unknown;
    into.write(line);
    // A box that refuses stops reading; what it says is then worth more than that the pipe broke.
    const sent = pipeline(sealed, into).catch((error) => {
      failed = error;
      into.destroy();
    });
    const { stdout, stderr } = await child;
    sealed.destroy();
    await sent;
    const taken = takenSchema.safeParse(resultOf(to.instance_id, 'state-import', String(stdout), String(stderr)));
    if (!taken.success || failed)
      throw broken(to, failed ? `the stream broke off: ${said(failed)}` : 'it answers otherwise');
    return taken.data;
  });
}

/** The first line, or all where there is none, and what follows it. */
async function firstLine(stream: Readable): Promise<{ head: string; rest: AsyncIterable<Buffer> }> {
  const chunks = stream[Symbol.asyncIterator]() as AsyncIterableIterator<Buffer>;
  let came = Buffer.alloc(0);
  let end = -1;
  while (end < 0 && came.length < HEAD_LIMIT) {
    const { done, value } = await chunks.next();
    if (done) break;
    came = Buffer.concat([came, value]);
    end = came.indexOf('\n');
  }
  const head = came.subarray(0, end < 0 ? came.length : end + 1);
  async function* rest() {
    if (came.length > head.length) yield came.subarray(head.length);
    yield* chunks;
  }
  return { head: head.toString(), rest: rest() };
}

/** Tells how many bytes have passed. */
function counted(source: Readable, moved: (bytes: number) => void = () => {}): Readable {
  let bytes = 0;
  return source.compose(
    new Transform({
      transform(chunk, _encoding, done) {
        bytes += chunk.length;
        moved(bytes);
        done(null, chunk);
      },
    }),
  ) as Readable;
}

const fromWeb = (stream: ReadableStream<Uint8Array>) =>
  Readable.fromWeb(stream as Parameters<typeof Readable.fromWeb>[0]);
const said = (error: unknown) => (error instanceof Error ? error.message : String(error));

function broken({ instance_id: id }: Way, why: string): BuildError {
  return new BuildError(`ops ${id}`, why, 'nothing was replaced there; the same command tries again');
}
