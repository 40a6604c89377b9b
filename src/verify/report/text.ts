import { redParts } from './parts.ts';
import type { ClaimResult } from './schema.ts';

/** One claim for a person: a line when it holds, its evidence when it doesn't. */
export function renderClaim(layer: string, claim: ClaimResult): string {
  const head = `${claim.ok ? '✔' : '✖'} ${layer} ${claim.id} (${claim.target})  ${claim.seconds.toFixed(1)} s`;
  if (claim.ok) return head;
  return [
    head,
    `  promise: ${claim.promise}`,
    ...redParts(claim).flatMap(([name, verdict]) => [
      `  ${name}: expected ${verdict.expected}, got ${verdict.got}`,
      ...verdict.evidence.split('\n').map((line) => `    │ ${line}`),
    ]),
  ].join('\n');
}
