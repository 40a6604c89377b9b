import { statSync } from 'node:fs';
import { inputError } from './errors.ts';
import { shellQuote } from './run.ts';

/**
 * Looks whether a file with something secret is its owner's alone.
 * @param what it is, for the error: `your key`.
 * @throws BuildError (input) where others may read or write it; as statSync where it isn't there.
 */
export function requirePrivate(step: string, file: string, what = ''): void {
  if (statSync(file).mode & 0o077)
    throw inputError(
      step,
      `others than you may read or write ${what}${what && ' '}${file}`,
      `chmod 600 ${shellQuote(file)}`,
    );
}
