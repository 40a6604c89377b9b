import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { edgeSecretsSchema } from '../contract/edge.ts';
import { jsonOf } from '../contract/text.ts';
import { inputError } from '../process/errors.ts';
import { requirePrivate } from '../process/private-file.ts';

/**
 * The Worker's secrets. Cloudflare never gives them back, so their digest stays with the Worker: it says whether they are
 * the ones of the file. It is of all of them together, keys of 32 random bytes among them: nobody can try guesses, not even of a
 * short `clientSecret`, and no part has a digest of its own.
 * @returns as the Worker is given them, and the digest: hex, 64 digits.
 * @throws BuildError (input) without a word of the file's content.
 */
export function readWorkerSecrets(file: string): { text: string; digest: string } {
  const hint = '(umask 077; npm run -s edge -- secrets >…), docs/edge.md';
  let text: string;
  try {
    requirePrivate('edge', file);
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if (!(error instanceof Error && 'code' in error)) throw error;
    throw inputError('edge', `${file} can't be read`, hint);
  }
  const parsed = edgeSecretsSchema.safeParse(jsonOf(text));
  if (!parsed.success) throw inputError('edge', `${file} isn't what the auth proxy's secrets look like`, hint);
  const whole = JSON.stringify(parsed.data);
  return { text: whole, digest: createHash('sha256').update(whole).digest('hex') };
}
