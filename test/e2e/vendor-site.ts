import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';

/** A signing key that lives as long as a test. */
export interface TestKey {
  /** The public half, as a keyring for gpgv. */
  file: string;
  /** Signs a file as a vendor signs SHA256SUMS: detached, binary. */
  sign(file: string, signature: string): Promise<void>;
  close(): Promise<void>;
}

/** Makes a key in a GnuPG home of its own. Below /tmp: the agent's socket has a path of at most 107 characters. */
export async function makeTestKey(name: string): Promise<TestKey> {
  const home = mkdtempSync(join(tmpdir(), 'clawdy-gpg-'));
  const gpg = (...args: string[]) => execa('gpg', ['--batch', '--quiet', ...args], { env: { GNUPGHOME: home } });
  await gpg('--passphrase', '', '--quick-generate-key', `${name} <${name}@example.invalid>`, 'ed25519', 'sign', '1d');
  const file = join(home, 'public.gpg');
  await gpg('--output', file, '--export');
  return {
    file,
    sign: async (list, signature) => {
      await gpg('--yes', '--output', signature, '--detach-sign', list);
    },
    close: async () => {
      await execa('gpgconf', ['--homedir', home, '--kill', 'gpg-agent'], { reject: false });
      rmSync(home, { recursive: true, force: true });
    },
  };
}

/** Writes SHA256SUMS over a folder's files, in the vendor's form, and its signature. */
export async function signFolder(dir: string, key: TestKey): Promise<void> {
  const files = readdirSync(dir).filter((name) => !name.startsWith('SHA256SUMS'));
  const line = (name: string) =>
    `${createHash('sha256')
      .update(readFileSync(join(dir, name)))
      .digest('hex')} *${name}\n`;
  writeFileSync(join(dir, 'SHA256SUMS'), files.map(line).join(''));
  await key.sign(join(dir, 'SHA256SUMS'), join(dir, 'SHA256SUMS.gpg'));
}
