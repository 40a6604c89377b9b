import type { ClaimResult, Verdict } from './run-claim.ts';

/** One claim for a person: a line when it holds, its evidence when it doesn't. */
export function renderClaim(result: ClaimResult): string {
  const head = `${result.ok ? '✔' : '✖'} ${result.layer} ${result.id} (${result.target})  ${result.seconds.toFixed(1)} s`;
  if (result.ok) return head;
  const parts: [string, Verdict][] = [
    ['control', result.control],
    ['attack', result.attack],
    ...(result.alone ? ([['alone', result.alone]] as [string, Verdict][]) : []),
    ...('until' in result.sabotage ? [] : ([['sabotage', result.sabotage]] as [string, Verdict][])),
  ];
  const red = parts.filter(([, verdict]) => !verdict.ok);
  return [
    head,
    `  promise: ${result.promise}`,
    ...red.flatMap(([name, verdict]) => [
      `  ${name}: expected ${verdict.expected}, got ${verdict.got}`,
      ...verdict.evidence.split('\n').map((line) => `    │ ${line}`),
    ]),
  ].join('\n');
}
