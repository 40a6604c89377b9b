import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';

/** A signing key that lives as long as a test. */
export interface TestKey {
  /** The public half, as a keyring for gpgv. */
  file: string;
  /** Of the primary key, 40 hex digits. */
  fingerprint: string;
  /** Signs a file as a vendor signs SHA256SUMS: detached, binary. */
  sign(file: string, signature: string): Promise<void>;
  /** Revokes the key, and writes its public half anew; signatures from before stay as they are. */
  revoke(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Makes a key in a GnuPG home of its own. Below /tmp: the agent's socket has a path of at most 107 characters.
 * @param now the clock by which the key is made and signs, such as 20200101T000000; it expires a day later.
 */
export async function makeTestKey(name: string, now?: string): Promise<TestKey> {
  const home = mkdtempSync(join(tmpdir(), 'clawdy-gpg-'));
  const clock = now ? ['--faked-system-time', now] : [];
  const gpg = (...args: string[]) =>
    execa('gpg', ['--batch', '--quiet', ...clock, ...args], { env: { GNUPGHOME: home } });
  await gpg('--passphrase', '', '--quick-generate-key', `${name} <${name}@example.invalid>`, 'ed25519', 'sign', '1d');
  const file = join(home, 'public.gpg');
  const exported = () => gpg('--yes', '--output', file, '--export');
  await exported();
  const { stdout } = await gpg('--with-colons', '--list-keys');
  const fingerprint = /^fpr:+([0-9A-F]{40}):/m.exec(stdout)?.[1] as string;
  return {
    file,
    fingerprint,
    sign: async (list, signature) => {
      await gpg('--yes', '--output', signature, '--detach-sign', list);
    },
    revoke: async () => {
      const certificate = join(home, 'openpgp-revocs.d', `${fingerprint}.rev`);
      // GnuPG keeps it spoilt by a colon, so that nobody imports it by accident.
      writeFileSync(certificate, readFileSync(certificate, 'utf8').replace(/^:---/m, '---'));
      await gpg('--import', certificate);
      await exported();
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
