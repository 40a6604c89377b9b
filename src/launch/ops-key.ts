import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { inputError } from '../process/errors.ts';
import { requirePrivate } from '../process/private-file.ts';
import { run } from '../process/run.ts';
import { opsKeyFile } from './places.ts';

/**
 * The operator's own SSH key for the channel of instances (docs/ops.md), made at first use.
 * @returns its public half, without a comment, and the private half's file.
 * @throws BuildError (input) when others may read the private half, or the public one isn't a key.
 */
export async function loadOpsKey(): Promise<{ publicKey: string; privateFile: string }> {
  const file = opsKeyFile();
  if (!existsSync(file)) {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    // Beside it and renamed, the public half first: a private one without it would never be made anew.
    const made = `${file}.${process.pid}`;
    try {
      await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'clawdy-ops', '-f', made], { step: 'operator' });
      renameSync(`${made}.pub`, `${file}.pub`);
      renameSync(made, file);
    } finally {
      for (const left of [made, `${made}.pub`]) rmSync(left, { force: true });
    }
  }
  requirePrivate('operator', file, 'your key');
  // Of the private half, whatever became of the file beside it.
  const { stdout } = await run('ssh-keygen', ['-y', '-P', '', '-f', file], {
    step: 'operator',
    hint: `${file} isn't a private key without a passphrase: put back its backup`,
  });
  const publicKey = /^ssh-ed25519 [A-Za-z0-9+/=]+/.exec(stdout)?.[0];
  if (publicKey) return { publicKey, privateFile: file };
  throw inputError('operator', `${file} is a key of another kind`, 'an Ed25519 key is wanted; put back its backup');
}
