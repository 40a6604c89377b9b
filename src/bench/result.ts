import { z } from 'zod';

const seconds = z.number().positive();

/** What `npm run -s bench -- bake --json` prints. Times are wall seconds of a whole process (docs/bench.md). */
export const bakeBenchSchema = z.strictObject({
  /** Null where only the plain template was run. */
  ours: z
    .strictObject({
      /** A bake whose cache holds the pristine base and nothing else. */
      cold: seconds,
      /** The bake after one file of one layer was edited. */
      edit: seconds,
    })
    .nullable(),
  /** The plain Packer template on the same base; null where it wasn't run, or failed. */
  plain: seconds.nullable(),
  /** plain / ours.cold, two decimals; null unless both are there. */
  ratio: z.number().positive().nullable(),
  /** Why there is no `plain` although it was run. */
  plainFailed: z.string().min(1).optional(),
});

export type BakeBench = z.output<typeof bakeBenchSchema>;

/** Seconds of the plain template, or why there are none. */
export type PlainOutcome = { seconds: number } | { failed: string };

/** Joins what was measured; a part that wasn't run is undefined. */
export function bakeBench(ours: BakeBench['ours'] | undefined, plain: PlainOutcome | undefined): BakeBench {
  const plainSeconds = plain && 'seconds' in plain ? plain.seconds : null;
  return bakeBenchSchema.parse({
    ours: ours ?? null,
    plain: plainSeconds,
    ratio: ours && plainSeconds !== null ? Math.round((plainSeconds / ours.cold) * 100) / 100 : null,
    ...(plain && 'failed' in plain ? { plainFailed: plain.failed } : {}),
  });
}

/** Runs something by the wall clock. @returns seconds, rounded to a tenth. */
export async function timed<T>(work: () => Promise<T>): Promise<{ result: T; seconds: number }> {
  const from = performance.now();
  const result = await work();
  return { result, seconds: Math.round((performance.now() - from) / 100) / 10 };
}
