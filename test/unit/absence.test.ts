import test from 'ava';
import { judgeAbsence } from '../../src/verify/absence.ts';
import { type LayerClaim, loadClaims } from '../../src/verify/claims/load.ts';
import { LAYERS, ROOT } from '../image.ts';

const one = loadClaims(ROOT, LAYERS).find(({ id }) => id === 'stray-service-unreachable') as LayerClaim;
const claim: LayerClaim = { ...one, alsoStoppedBy: [] };
const got = (outcome: string) => ({ expected: claim.attack.expect, got: outcome, ok: false, evidence: 'said' });

test('without its layer an attack must succeed', (t) => {
  t.is(judgeAbsence(claim, got('ok')).meaning, 'nothing stops it');
  t.is(judgeAbsence(claim, got('timeout')).meaning, undefined);
  t.is(judgeAbsence(claim, got('refused')).meaning, undefined, 'a third outcome proves nothing');
  t.is(judgeAbsence(claim, got('the attempt broke (exit 1)')).meaning, undefined);
});

test('or a layer is named that holds, and is seen to be the only one', (t) => {
  const held = { ...claim, alsoStoppedBy: ['01-loopback'] };
  t.is(judgeAbsence(held, got('timeout'), got('ok')).meaning, '01-loopback holds, and nobody else');
  t.is(judgeAbsence(held, got('timeout')).meaning, undefined);
  t.is(judgeAbsence(held, got('timeout'), got('timeout')).meaning, undefined, 'somebody else holds too');
  t.is(judgeAbsence(held, got('refused'), got('ok')).meaning, undefined);
});

test('or the claim says what else comes of it, and then that alone will do', (t) => {
  const gone = { ...claim, without: { expect: 'broken' as const, because: 'what is attacked is gone' } };
  t.is(judgeAbsence(gone, got('the attempt broke (exit 1)')).meaning, 'what is attacked is gone');
  t.is(judgeAbsence(gone, got('ok')).meaning, undefined);
});
