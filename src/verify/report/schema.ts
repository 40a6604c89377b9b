import { z } from 'zod';

const verdict = z.strictObject({
  expected: z.string(),
  got: z.string(),
  ok: z.boolean(),
  /** The last lines that the attempt printed. */
  evidence: z.string(),
});

const claimResult = z.strictObject({
  id: z.string(),
  promise: z.string(),
  target: z.enum(['container', 'vm']),
  /** What was tried, in the words of claims.yaml. */
  tried: z.strictObject({ control: z.string(), attack: z.string(), sabotage: z.string() }),
  control: verdict,
  attack: verdict,
  /** The attack with every other layer that stops it taken away. */
  alone: verdict.optional(),
  /** The attack once more, after this layer's protection was taken away; or why there is no such proof, until when. */
  sabotage: z.union([verdict, z.strictObject({ reason: z.string(), until: z.string() })]),
  seconds: z.number(),
  ok: z.boolean(),
});

/** `report.json`: what a verification tried and what came of it. */
export const reportSchema = z.strictObject({
  schema: z.literal(1),
  image: z.string(),
  base: z.string(),
  /** SHA-256 of the raw disk that was verified. */
  rawSha256: z.string(),
  /** `ci`: each claim in its cheapest honest place. `full`: everywhere that it is declared for. */
  scope: z.enum(['ci', 'full']),
  /** Of all claims only these were asked for; such a report proves nothing about the image. */
  only: z.string().optional(),
  started: z.iso.datetime(),
  seconds: z.number(),
  /** On what a live box listened: `tcp 127.0.0.1:7860 openclaw`. */
  listening: z.array(z.string()).optional(),
  layers: z.array(
    z.strictObject({ id: z.string(), title: z.string(), promise: z.string(), claims: z.array(claimResult) }),
  ),
  totals: z.strictObject({
    /** Claims times the places of the scope. */
    declared: z.number().int(),
    executed: z.number().int(),
    passed: z.number().int(),
    failed: z.number().int(),
    /** Held, but without the proof of a sabotage, for a stated reason and time. */
    skipped: z.number().int(),
  }),
});

export type Report = z.output<typeof reportSchema>;
export type Verdict = z.output<typeof verdict>;
export type ClaimResult = z.output<typeof claimResult>;
export type Scope = Report['scope'];

/** Whether all that was declared was executed, and holds. */
export function isGreen({ totals }: Report): boolean {
  return totals.declared > 0 && totals.executed === totals.declared && totals.failed === 0;
}
