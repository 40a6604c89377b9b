import { appendFileSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { type ProcessOutput, $ as zx } from 'zx';
import { BuildError } from './errors.ts';
import { lastLines } from './run.ts';

export interface SequenceOptions {
  /** Which step this belongs to, for the error. */
  step: string;
  /** What a person should try when a command fails. */
  hint: string;
  /** Every command and its output are appended here. */
  log: string;
  env: Record<string, string>;
  /** Picks what matters from a failed command's standard output, before it is cut to its last lines. */
  tail?: (stdout: string) => string;
}

type Shell = (pieces: TemplateStringsArray, ...values: (string | string[])[]) => Promise<string>;

/**
 * A shell for command lines that read like a script: sh`packer init ${dir}`. Values are quoted by zx, lists become
 * words. It gives a command's standard output.
 *
 * @param minutes after which a command is killed.
 * @throws BuildError with the tail of the output.
 */
export function sequence(options: SequenceOptions, minutes = 5): Shell {
  const { log, step, hint } = options;
  mkdirSync(dirname(log), { recursive: true });
  const shell = zx({
    env: { ...process.env, ...options.env },
    quiet: true,
    nothrow: true,
    timeout: `${minutes * 60}s`,
    stdio: ['ignore', 'pipe', 'pipe'],
    log: (entry) => {
      if (entry.kind === 'cmd') appendFileSync(log, `$ ${entry.cmd}\n`);
      if (entry.kind === 'stdout' || entry.kind === 'stderr') appendFileSync(log, entry.data);
    },
  });
  return async (pieces, ...values) => {
    const output: ProcessOutput = await shell(pieces, ...values);
    if (output.exitCode === 0) return output.stdout;
    const said = options.tail?.(output.stdout) ?? `${output.stdout}\n${output.stderr}`;
    const program = pieces[0]?.trim().split(' ')[0];
    const why =
      output.exitCode === null ? `ran out of ${minutes} minutes or was ended` : `exited with ${output.exitCode}`;
    throw new BuildError(step, `${program} ${why}`, hint, { log, tail: lastLines(said), cause: output });
  };
}
