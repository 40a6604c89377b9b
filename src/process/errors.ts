import { stripVTControlCharacters } from 'node:util';

/** Exit codes, one per class of failure; docs/architecture.md lists them for scripts. */
export const EXIT = { failed: 1, usage: 2, input: 3, prerequisite: 4, interrupted: 130 } as const;

/** A failure a person can act on: what failed, why, what to do next, where the log is. */
export class BuildError extends Error {
  readonly step: string;
  readonly hint: string;
  readonly log: string | undefined;
  readonly tail: string | undefined;
  readonly exitCode: number;
  /** Whether whatever else is asked of the same place would fail alike: credentials that aren't taken. */
  readonly forAll: boolean;

  constructor(
    step: string,
    message: string,
    hint: string,
    more: {
      log?: string | undefined;
      tail?: string | undefined;
      exitCode?: number;
      forAll?: boolean;
      cause?: unknown;
    } = {},
  ) {
    super(message, { cause: more.cause });
    this.name = 'BuildError';
    this.step = step;
    this.hint = hint;
    this.log = more.log;
    this.tail = more.tail;
    this.exitCode = more.exitCode ?? EXIT.failed;
    this.forAll = more.forAll ?? false;
  }
}

/** Bad input from a person or a file: names the place and the remedy. */
export function inputError(step: string, message: string, hint: string): BuildError {
  return new BuildError(step, message, hint, { exitCode: EXIT.input });
}

/** What others have said, without what a terminal would act upon: it may be a hostile box's. */
export function plain(text: string): string {
  return stripVTControlCharacters(text).replaceAll(/[^\P{C}\n\t]/gu, '');
}

/** Renders an error for a terminal; unknown errors keep their stack because they are our own bugs. */
export function renderError(error: unknown): string {
  if (!(error instanceof BuildError)) {
    return `unexpected error (a bug in this project):\n${error instanceof Error ? error.stack : String(error)}`;
  }
  const lines = [`✖ ${error.step}: ${plain(error.message)}`];
  if (error.tail)
    lines.push(
      ...plain(error.tail)
        .split('\n')
        .map((line) => `  │ ${line}`),
    );
  if (error.hint) lines.push(`  next: ${error.hint}`);
  if (error.log) lines.push(`  log:  ${error.log}`);
  return lines.join('\n');
}
