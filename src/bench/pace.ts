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

const latency = z.strictObject({
  /** Milliseconds that an answer takes, one after the other. */
  mean_ms: z.number().positive(),
  p99_ms: z.number().nonnegative(),
});

/** What `npm run -s bench -- edge --json` prints (docs/bench.md). */
export const edgeBenchSchema = z.strictObject({
  proxy: latency,
  bare: latency,
  /** proxy.mean_ms / bare.mean_ms, two decimals. */
  ratio: z.number().positive(),
  /** What the proxy adds. */
  added_ms: z.number(),
});

export type Latency = z.output<typeof latency>;
export type EdgeBench = z.output<typeof edgeBenchSchema>;

/** Medians of each side's rounds, their ratio, and what is added. */
export function compareEdge(proxy: readonly Latency[], bare: readonly Latency[]): EdgeBench {
  const middle = (all: readonly Latency[]): Latency => ({
    mean_ms: round(median(all.map(({ mean_ms }) => mean_ms)), 2),
    p99_ms: round(median(all.map(({ p99_ms }) => p99_ms)), 1),
  });
  const sides = { proxy: middle(proxy), bare: middle(bare) };
  const [one, other] = [sides.proxy.mean_ms, sides.bare.mean_ms];
  return edgeBenchSchema.parse({ ...sides, ratio: round(one / other, 2), added_ms: round(one - other, 2) });
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const upper = sorted[sorted.length >> 1] as number;
  return sorted.length % 2 ? upper : ((sorted[(sorted.length >> 1) - 1] as number) + upper) / 2;
}

const round = (value: number, digits: number): number => Number(value.toFixed(digits));
