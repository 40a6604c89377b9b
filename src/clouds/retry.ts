import pRetry, { AbortError } from 'p-retry';
import { BuildError } from '../process/errors.ts';

/** What an error of a cloud's API means for whoever asked. */
export type Judgement =
  /** It may go through later. `afterMs`: not sooner, as the cloud itself said. */
  | { again: true; reason: string; afterMs?: number | undefined }
  /** It never will. */
  | { again: false };

export interface RetryOptions {
  /** What is being done, for the error and the progress line. */
  what: string;
  judge: (error: unknown) => Judgement;
  /** Turns the last error into one for a person; must hold no secret. */
  explain: (error: unknown, what: string) => BuildError;
  /** Milliseconds after which nothing is tried again. */
  limitMs: number;
  /** Attempts in all; beyond 12 the pauses alone exceed three minutes. */
  attempts?: number;
  /** Shortest pause, milliseconds; it doubles, with full jitter, up to `maxPauseMs`. */
  minPauseMs?: number;
  maxPauseMs?: number;
  detail?: (text: string) => void;
}

/**
 * Calls until it succeeds, fails for good, or the limit is over. Clouds throttle, and hand out IDs that their other
 * servers don't know yet; which errors those are, and why, is `judge`'s to say, next to the API it knows.
 *
 * @throws BuildError from `explain`.
 */
export async function retry<T>(call: () => Promise<T>, options: RetryOptions): Promise<T> {
  const { what, judge, explain, limitMs, detail } = options;
  let last: unknown;
  try {
    return await pRetry(
      async () => {
        try {
          return await call();
        } catch (error) {
          last = error;
          const judged = error instanceof BuildError ? ({ again: false } as const) : judge(error);
          if (!judged.again) throw new AbortError('final');
          detail?.(`${what}: again, ${judged.reason}`);
          if (judged.afterMs) await pause(Math.min(judged.afterMs, limitMs));
          throw new Error(judged.reason);
        }
      },
      {
        retries: (options.attempts ?? 12) - 1,
        minTimeout: options.minPauseMs ?? 200,
        maxTimeout: options.maxPauseMs ?? 20_000,
        factor: 2,
        randomize: true,
        maxRetryTime: limitMs,
      },
    );
  } catch {
    throw last instanceof BuildError ? last : explain(last, what);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
