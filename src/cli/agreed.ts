import { createInterface } from 'node:readline/promises';
import { inputError } from '../process/errors.ts';

/**
 * Asks on the terminal before something is changed that can't be taken back, or costs money.
 * @param option that answers in advance.
 * @throws BuildError (input) when nobody is there to be asked.
 */
export async function agreed(step: string, question: string, option = '--yes'): Promise<boolean> {
  if (!process.stdin.isTTY) throw inputError(step, `nobody is there to ask: ${question}`, `add ${option}`);
  const asking = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await asking.question(`${question} [y/N] `)).trim());
  } finally {
    asking.close();
  }
}
