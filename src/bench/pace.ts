import { z } from 'zod';

const pace = z.strictObject({
  /** Answers a second. */
  rps: z.number().positive(),
  /** Milliseconds within which 99 of 100 answers came. */
  p99_ms: z.number().nonnegative(),
});

/** What `npm run -s bench -- gate --json` prints (docs/bench.md). */
export const gateBenchSchema = z.strictObject({
  gate: pace,
  bare: pace,
  /** gate.rps / bare.rps, two decimals. */
  ratio: z.number().positive(),
});

export type Pace = z.output<typeof pace>;
export type GateBench = z.output<typeof gateBenchSchema>;

/** Medians of each side's rounds, and their ratio. */
export function compare(gate: readonly Pace[], bare: readonly Pace[]): GateBench {
  const middle = (paces: readonly Pace[]): Pace => ({
    rps: round(median(paces.map(({ rps }) => rps)), 0),
    p99_ms: round(median(paces.map(({ p99_ms }) => p99_ms)), 1),
  });
  const sides = { gate: middle(gate), bare: middle(bare) };
  return gateBenchSchema.parse({ ...sides, ratio: round(sides.gate.rps / sides.bare.rps, 2) });
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const upper = sorted[sorted.length >> 1] as number;
  return sorted.length % 2 ? upper : ((sorted[(sorted.length >> 1) - 1] as number) + upper) / 2;
}

const round = (value: number, digits: number): number => Number(value.toFixed(digits));
