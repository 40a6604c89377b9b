import { create } from 'xmlbuilder2';
import { redParts } from './parts.ts';
import type { ClaimResult, Report } from './schema.ts';

/**
 * The report for a CI that reads JUnit XML: a suite a layer, a case a claim and place. Elements and attributes are those
 * that GitLab and Jenkins read, https://github.com/testmoapp/junitxml.
 */
export function renderJunit(report: Report): string {
  const { executed, failed } = report.totals;
  const name = `${report.image}, scope ${report.scope}`;
  const suites = report.layers.map(({ id, claims }) => ({
    '@name': id,
    '@tests': claims.length,
    '@failures': claims.filter(({ ok }) => !ok).length,
    '@timestamp': report.started,
    testcase: claims.map((claim) => testCase(id, claim)),
  }));
  const attributes = { '@name': name, '@tests': executed, '@failures': failed, '@time': report.seconds };
  // What a box printed may hold characters that XML has no way to say.
  const document = create(
    { encoding: 'UTF-8', invalidCharReplacement: '\uFFFD' },
    {
      testsuites: { ...attributes, testsuite: suites },
    },
  );
  return `${document.end({ prettyPrint: true })}\n`;
}

function testCase(layer: string, claim: ClaimResult) {
  const what = {
    '@name': `${claim.id} (${claim.target})`,
    '@classname': `${layer}.${claim.target}`,
    '@time': claim.seconds,
  };
  const red = redParts(claim);
  if (red.length) {
    const lines = red.map(
      ([name, { expected, got, evidence }]) => `${name}: expected ${expected}, got ${got}\n${evidence}`,
    );
    return { ...what, failure: { '@message': claim.promise, '#': lines.join('\n') } };
  }
  if (!('until' in claim.sabotage)) return what;
  return { ...what, 'system-out': `no sabotage until ${claim.sabotage.until}: ${claim.sabotage.reason}` };
}
