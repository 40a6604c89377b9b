import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { inputError } from '../process/errors.ts';
import { run } from '../process/run.ts';

/** The key that may log in. */
export interface SshKey {
  /** Type and key, without a comment. */
  publicKey: string;
  /** The private half, where it lies beside the public one. */
  privateFile: string | undefined;
}

const PUBLIC =
  /^((?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)|sk-ssh-ed25519@openssh\.com|sk-ecdsa-sha2-nistp256@openssh\.com) [A-Za-z0-9+/]+={0,2})(?:[ \t][^\n]*)?\r?\n?$/;

/**
 * The public key of a file, else ~/.ssh/id_ed25519.pub, else a pair made in `dir`.
 * @param dir undefined: none is made.
 * @throws BuildError (input) when the file isn't one plain public key, or there is none. Its content isn't repeated: it could be private.
 */
export async function findSshKey(file: string | undefined, dir: string | undefined): Promise<SshKey> {
  const own = join(homedir(), '.ssh', 'id_ed25519.pub');
  if (file !== undefined) return readPublic(resolve(file));
  if (existsSync(own)) return readPublic(own);
  if (!dir) throw inputError('ssh key', `there is no ${own}`, 'name your public key: --ssh-key');
  const made = join(dir, 'id_ed25519');
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'clawdy', '-f', made], { step: 'ssh key' });
  return readPublic(`${made}.pub`);
}

function readPublic(file: string): SshKey {
  const publicKey = existsSync(file) ? PUBLIC.exec(readFileSync(file, 'utf8'))?.[1] : undefined;
  if (!publicKey) {
    throw inputError('ssh key', `${file} isn't one SSH public key`, 'name a .pub file that ssh-keygen made');
  }
  const privateFile = file.replace(/\.pub$/, '');
  return { publicKey, privateFile: privateFile !== file && existsSync(privateFile) ? privateFile : undefined };
}
