import { BuildError, EXIT } from '../process/errors.ts';
import { type RunOptions, type RunResult, run } from '../process/run.ts';
import { findProgram } from './present.ts';

export const isRoot = (): boolean => process.geteuid?.() === 0;

/** The command as a person would type it: with sudo when they aren't root. */
export function rootCommand(words: readonly string[]): string[] {
  return isRoot() ? [...words] : ['sudo', ...words];
}

/**
 * Runs a command as root, by sudo where we aren't. sudo asks for its password on the terminal itself, or fails without one.
 * @param words the program and its arguments.
 */
export async function asRoot(words: readonly string[], options: RunOptions): Promise<RunResult> {
  if (!isRoot() && !findProgram('sudo')) {
    throw new BuildError(options.step, 'needs root, and sudo is not installed', `as root: ${words.join(' ')}`, {
      exitCode: EXIT.prerequisite,
    });
  }
  const [file = '', ...args] = rootCommand(words);
  return run(file, args, options);
}
