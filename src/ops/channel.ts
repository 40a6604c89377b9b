import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { answerSchema, OPERATORS, REQUEST_LIMIT } from '../contract/ops.ts';
import { jsonOf } from '../contract/text.ts';
import type { InstanceRecord } from '../launch/records.ts';
import { BuildError, inputError } from '../process/errors.ts';
import { run } from '../process/run.ts';
import { sshWords } from '../process/ssh.ts';

/** The box's own limit for the longest of its verbs, and some. */
const ANSWER_LIMIT_MS = 36 * 60_000;
/** Seconds; sshd of an emulated machine takes some. */
const CONNECT_LIMIT_S = 60;

/** Where a channel is, and who may use it. */
export type Way = Pick<InstanceRecord, 'instance_id' | 'address' | 'ops_identity_file'> & {
  ssh: Pick<InstanceRecord['ssh'], 'port' | 'host_key'>;
};

/** A connection to the channel: the words for ssh, and the request as its first line. */
export interface Call {
  words: string[];
  line: string;
}

/**
 * Does something over SSH with an instance's operators' channel, to the host key that its record names.
 * @throws BuildError (input) where this operator has no key for it, or the arguments are too long.
 */
export async function withCall<T>(
  { instance_id: id, address, ops_identity_file: key, ssh }: Way,
  verb: string,
  args: Record<string, unknown>,
  use: (call: Call) => Promise<T>,
): Promise<T> {
  if (!key) throw inputError('ops', `${id} was launched without an operator's key`, 'launch it anew');
  const line = `${JSON.stringify({ verb, args })}\n`;
  if (Buffer.byteLength(line) > REQUEST_LIMIT)
    throw inputError('ops', `the arguments have more than ${REQUEST_LIMIT} bytes`, 'see docs/ops.md');
  const work = mkdtempSync(join(tmpdir(), 'clawdy-ops-'));
  try {
    const known = join(work, 'known_hosts');
    writeFileSync(known, `[${address}]:${ssh.port} ${ssh.host_key}\n`, { mode: 0o600 });
    const words = sshWords({
      ...{ user: OPERATORS.name, address, port: ssh.port, key },
      ...{ knownHosts: known, strict: 'yes', connectLimitS: CONNECT_LIMIT_S },
    });
    return await use({ words, line });
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/**
 * Puts one request to an instance. The arguments go by standard input alone.
 *
 * @param limitMs for the answer.
 * @returns the verb's result.
 * @throws BuildError as withCall does; and with the box's own words, or why it wasn't reached.
 */
export function ask(
  way: Way,
  verb: string,
  args: Record<string, unknown>,
  limitMs = ANSWER_LIMIT_MS,
): Promise<unknown> {
  return withCall(way, verb, args, async ({ words, line }) => {
    const { stdout, stderr } = await run('ssh', words, {
      ...{ step: `ops ${way.instance_id}`, input: line, timeout: limitMs },
      // 255 is ssh's own; the others are the channel's, which says the same in words.
      ok: [0, 1, 2, 255],
    });
    return resultOf(way.instance_id, verb, stdout, stderr);
  });
}

/** @throws BuildError where the answer isn't a good one. */
export function resultOf(id: string, verb: string, stdout: string, stderr: string): unknown {
  const step = `ops ${id}`;
  const answer = answerSchema.safeParse(jsonOf(stdout));
  if (!answer.success) {
    const why = stderr.trim().split('\n').at(-1) || 'it said nothing that this tool understands';
    throw new BuildError(step, `${verb}: the channel wasn't reached: ${why}`, 'is it up? npm run -s launch -- list');
  }
  if (!answer.data.ok) throw new BuildError(step, `${verb}: ${answer.data.error}`, 'docs/ops.md has the verbs');
  return answer.data.result;
}
