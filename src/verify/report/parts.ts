import type { ClaimResult, Verdict } from './schema.ts';

/** What was tried for a claim, in order. */
export function partsOf({ control, attack, alone, sabotage }: ClaimResult): [string, Verdict][] {
  return [
    ['control', control],
    ['attack', attack],
    ...(alone ? ([['alone', alone]] as [string, Verdict][]) : []),
    ...('until' in sabotage ? [] : ([['sabotage', sabotage]] as [string, Verdict][])),
  ];
}

/** Those of them that came out otherwise than declared. */
export function redParts(claim: ClaimResult): [string, Verdict][] {
  return partsOf(claim).filter(([, verdict]) => !verdict.ok);
}
