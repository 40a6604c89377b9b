import { createHmac, hkdfSync } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { edgeSecretsSchema } from '../contract/edge.ts';
import { inputError } from '../process/errors.ts';
import { shellQuote } from '../process/run.ts';

/** Says what the key is for, so that it is good for nothing else. */
const LABEL = 'clawdy-worker-secrets-v1';

/**
 * The Worker's secrets. Cloudflare never gives them back, so their digest stays with the Worker: it says whether they are
 * the ones of the file. The digest's key is derived of the first key-encryption key (32 random bytes), so it tells nothing to who
 * hasn't that, not even of a `clientSecret` that could be guessed.
 * @returns as the Worker is given them, and the digest: hex, 64 digits.
 * @throws BuildError (input) without a word of the file's content.
 */
export function readWorkerSecrets(file: string): { text: string; digest: string } {
  const hint = '(umask 077; npm run -s edge -- secrets >…), docs/edge.md';
  let text: string;
  try {
    if (statSync(file).mode & 0o077)
      throw inputError('edge', `others than you may read or write ${file}`, `chmod 600 ${shellQuote(file)}`);
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if (!(error instanceof Error && 'code' in error)) throw error;
    throw inputError('edge', `${file} can't be read`, hint);
  }
  const parsed = edgeSecretsSchema.safeParse(parse(text));
  if (!parsed.success) throw inputError('edge', `${file} isn't what the auth proxy's secrets look like`, hint);
  const whole = JSON.stringify(parsed.data);
  const kek = Buffer.from(parsed.data.keks[0]?.key ?? '', 'base64url');
  const key = Buffer.from(hkdfSync('sha256', kek, '', LABEL, 32));
  return { text: whole, digest: createHmac('sha256', key).update(whole).digest('hex') };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
