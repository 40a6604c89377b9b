import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { BUNDLE_LIMIT, BUNDLE_LINES, BUNDLE_VERSION, MAC_LABELS } from '../../src/contract/enrolment.ts';
import { CODE } from '../../src/contract/gate.ts';
import { ROOT } from '../image.ts';

const boot = (name: string) => readFileSync(join(ROOT, 'rootfs/rootfs/usr/lib/clawdy/boot', name), 'utf8');

/** The value of a constant of the script, evaluated as the simple expression that it is. */
function constant(script: string, name: string): unknown {
  const value = new RegExp(`^${name} = (.*)$`, 'm').exec(script)?.[1];
  if (value === undefined) throw new Error(`${name} isn't in the script any more`);
  if (/^[\d_ *]+$/.test(value)) return value.split('*').reduce((product, factor) => product * Number(factor.trim()), 1);
  return JSON.parse(value.replace(/^b/, ''));
}

test('the box and the launcher agree on sizes, labels and versions', (t) => {
  const [sealing, enrolling] = [boot('seal-bundle'), boot('enrol')];
  t.is(constant(sealing, 'BUNDLE_LIMIT'), BUNDLE_LIMIT);
  t.is(constant(sealing, 'MAC_LABEL'), MAC_LABELS.bundle);
  t.is(constant(enrolling, 'PROOF_LABEL'), MAC_LABELS.enrol);
  t.is(constant(enrolling, 'CHUNK'), BUNDLE_LINES.chunk);
  t.true(sealing.includes(`os.urandom(${CODE.bytes})`));
  for (const script of [sealing, enrolling]) t.regex(script, new RegExp(`"version": ${BUNDLE_VERSION},`));
});
