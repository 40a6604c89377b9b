import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { answerSchema, OPERATORS } from '../contract/ops.ts';
import { jsonOf } from '../contract/text.ts';
import { run } from '../process/run.ts';
import { sshWords } from '../process/ssh.ts';
import { findSshPort } from './ssh-port.ts';

/** Milliseconds for one answer, and seconds for a connection; a machine that boots drops packets. */
const ANSWER_LIMIT_MS = 30_000;
const CONNECT_LIMIT_S = 10;

const toldSchema = z.looseObject({ said: z.string() });

/**
 * What an instance says of itself by the operators' channel, whose host key nobody knows yet: the first one that answers is
 * kept to. Whoever sits in between can hand on the sealed bundle, but make none, since its MAC is by the launch's token; and can't
 * log in on our behalf. Its host key is compared with the bundle's afterwards.
 *
 * @param key file of the operator's private key.
 * @returns all that it has said so far, empty while it doesn't answer.
 */
export function byChannel(address: string, key: string): { heard: () => Promise<string>; close: () => void } {
  const work = mkdtempSync(join(tmpdir(), 'clawdy-launch-'));
  let port: number | undefined;
  const heard = async () => {
    port ??= await findSshPort(address);
    if (port === undefined) return '';
    const words = sshWords({
      ...{ user: OPERATORS.name, address, port, key, knownHosts: join(work, 'known_hosts') },
      ...{ strict: 'accept-new', connectLimitS: CONNECT_LIMIT_S },
    });
    const input = `${JSON.stringify({ verb: 'tell', args: {} })}\n`;
    const limits = { timeout: ANSWER_LIMIT_MS, ok: [...Array(256).keys()] };
    const { stdout } = await run('ssh', words, { step: 'launch', input, ...limits }).catch(() => ({ stdout: '' }));
    const answer = answerSchema.safeParse(jsonOf(stdout));
    const told = answer.success && answer.data.ok ? toldSchema.safeParse(answer.data.result) : undefined;
    // It may have restarted sshd, or be busy: the port is looked for again.
    if (!told?.success) port = undefined;
    return told?.success ? told.data.said : '';
  };
  return { heard, close: () => rmSync(work, { recursive: true, force: true }) };
}
