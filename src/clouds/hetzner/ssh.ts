import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { BuildError } from '../../process/errors.ts';
import { feed, type RunResult, run, shellQuote } from '../../process/run.ts';
import { sshWords } from '../../process/ssh.ts';

/** OpenSSH's exit code when the connection, and not the command, failed (ssh(1)). */
const NOT_CONNECTED = 255;
/** Seconds; a machine that boots drops packets. */
const CONNECT_LIMIT_S = 10;

export interface SshTarget {
  address: string;
  port: number;
  user: string;
  /** File of the private key. */
  key: string;
  /** Folder for known_hosts, of this one machine. */
  work: string;
}

/**
 * One machine by OpenSSH's own client, without anything of the user's configuration.
 *
 * Nobody tells which host key it has, so the first one is taken and kept to (accept-new). Whoever sits in between can
 * take our bytes, which are public, and lie about their digest. He can't log in at the real machine as us: a public-key
 * signature is bound to its session. And the lie shows when the snapshot is booted: only a machine that was given its
 * user-data by the API can make the bundle that publish then waits for.
 */
export class Ssh {
  readonly #target: SshTarget;

  constructor(target: SshTarget) {
    this.#target = target;
  }

  /** Runs a command line of the remote shell. @throws BuildError unless it exits with one of `ok`. */
  run(command: string, options: { timeout: number; ok?: number[]; hint?: string }): Promise<RunResult> {
    return run('ssh', [...this.#words(), command], { step: 'hetzner', hint: 'try again', ...options });
  }

  /** Runs a script with arguments. */
  script(text: string, args: string[], options: { timeout: number; hint?: string }): Promise<RunResult> {
    return this.run(scriptLine(text, args), options);
  }

  /** Runs a script that reads a stream. @param stallMs without a byte taken, after which it is given up. */
  feed(text: string, args: string[], source: Readable, stallMs: number): Promise<RunResult> {
    const words = [...this.#words(), scriptLine(text, args)];
    return feed('ssh', words, source, { step: 'hetzner', hint: 'publish again: it begins with a new server', stallMs });
  }

  /** Standard output of a command, whatever its exit code; undefined when there was no connection or login. */
  async ask(command: string, timeout: number): Promise<string | undefined> {
    try {
      const ok = Array.from({ length: 256 }, (_, code) => code);
      const { exitCode, stdout } = await this.run(command, { timeout, ok });
      return exitCode === NOT_CONNECTED ? undefined : stdout;
    } catch (error) {
      // Ran out of time; what can't be started (no ssh here) won't be there the next time either.
      if (error instanceof BuildError && error.exitCode === 1) return undefined;
      throw error;
    }
  }

  /** The host key that answered, without host and comment. */
  hostKey(): string | undefined {
    const file = join(this.#target.work, 'known_hosts');
    if (!existsSync(file)) return undefined;
    return /^\S+ (ssh-ed25519 \S+)/m.exec(readFileSync(file, 'utf8'))?.[1];
  }

  #words(): string[] {
    const { work, ...way } = this.#target;
    const knownHosts = join(work, 'known_hosts');
    return sshWords({ ...way, knownHosts, strict: 'accept-new', connectLimitS: CONNECT_LIMIT_S });
  }
}

function scriptLine(text: string, args: string[]): string {
  return ['sh', '-c', text, 'sh', ...args].map(shellQuote).join(' ');
}

/** Makes a key pair that is used for one machine. @returns file of the private key (0600), and the public key. */
export async function makeKey(work: string): Promise<{ file: string; publicKey: string }> {
  const file = join(work, 'id_ed25519');
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'clawdy', '-f', file], { step: 'hetzner' });
  const [kind = '', key = ''] = readFileSync(`${file}.pub`, 'utf8').split(' ');
  return { file, publicKey: `${kind} ${key}` };
}
