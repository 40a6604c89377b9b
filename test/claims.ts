import test from 'ava';
import { type LayerClaim, loadClaims } from '../src/verify/claims/load.ts';
import { renderClaim } from '../src/verify/claims/render.ts';
import type { ClaimResult } from '../src/verify/claims/run-claim.ts';
import type { Target } from '../src/verify/targets/target.ts';
import { LAYERS, ROOT } from './image.ts';

/** The claims that are to be shown on this kind of target. */
export function claimsFor(kind: Target['kind']): LayerClaim[] {
  return loadClaims(ROOT, LAYERS).filter(({ where }) => where.includes(kind));
}

/** One test a claim, and one that all which are declared were executed. */
export function testClaims(claims: LayerClaim[], run: (claim: LayerClaim) => Promise<ClaimResult>): void {
  const executed: string[] = [];
  for (const claim of claims) {
    test.serial(`${claim.layer.name} ${claim.id}`, async (t) => {
      const result = await run(claim);
      executed.push(claim.id);
      t.true(result.ok, renderClaim(result));
    });
  }
  test.serial('executed equals declared', (t) => {
    t.true(claims.length > 0, 'no claim is declared here, so nothing was proved');
    t.deepEqual(
      executed,
      claims.map(({ id }) => id),
    );
  });
}
