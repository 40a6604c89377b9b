import type { LayerClaim } from './claims/load.ts';
import type { Verdict } from './report/schema.ts';

/** What came of a claim's attack on a box that never had the claim's layer. */
export interface Absence {
  id: string;
  got: string;
  /** Why that is as it should be, for a person; undefined where it isn't. */
  meaning: string | undefined;
  evidence: string;
}

/**
 * Judges an attack on a box without the layer: it must succeed, or somebody must be named who holds.
 * @param alone the attack after those whom the claim names were taken away too.
 */
export function judgeAbsence(
  { id, attack, sabotage, alsoStoppedBy, without }: LayerClaim,
  verdict: Verdict,
  alone?: Verdict,
): Absence {
  const { got, evidence } = verdict;
  const opened = 'until' in sabotage ? 'ok' : sabotage.expect;
  const outcome = got.startsWith('the attempt broke') ? 'broken' : got;
  const meaning = () => {
    if (without) return outcome === without.expect ? without.because : undefined;
    if (outcome === opened) return 'nothing stops it';
    if (outcome === attack.expect && alone?.got === opened) return `${alsoStoppedBy.join(', ')} holds, and nobody else`;
    return undefined;
  };
  return { id, got: outcome, meaning: meaning(), evidence: alone ? `${evidence}\nalone: ${alone.evidence}` : evidence };
}
