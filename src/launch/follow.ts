import { setTimeout as sleep } from 'node:timers/promises';
import { VERDICTS } from '../contract/enrolment.ts';
import type { BuildError } from '../process/errors.ts';
import { lastLine } from '../process/run.ts';

export interface Following {
  /** All that the box has said so far. */
  heard: () => Promise<string>;
  /** What is waited for, for the error. */
  what: string;
  /** Milliseconds: for all of it, and between two looks. */
  limitMs: number;
  pollMs: number;
  detail: (text: string) => void;
  /** The error for a box that stays closed or says nothing. */
  fail: (why: string, hint: string, said: string) => BuildError;
}

/** Listens to a box until `inspect` has what it wants; `clawdy: closed: …` ends it at once, with that reason. */
export async function follow<T>(following: Following, inspect: (text: string) => T | undefined): Promise<T> {
  const { heard, what, limitMs, pollMs, detail, fail } = following;
  const until = Date.now() + limitMs;
  for (;;) {
    const text = await heard();
    const found = inspect(text);
    if (found !== undefined) return found;
    const reason = VERDICTS.closed.exec(text)?.groups?.reason;
    if (reason !== undefined) throw fail(`the box stays closed: ${reason}`, 'mend the image; verify it again', text);
    if (Date.now() > until)
      throw fail(`${what} didn't come in ${Math.round(limitMs / 60_000)} min`, 'read what it said', text);
    detail(`waiting for ${what}${text ? `: ${lastLine(text)}` : ''}`);
    await sleep(pollMs);
  }
}
