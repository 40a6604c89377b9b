import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { type ImageManifest, readImage } from '../../src/manifest/image.ts';
import { BuildError } from '../../src/process/errors.ts';
import { requireProof } from '../../src/publish/proof.ts';
import type { Report } from '../../src/verify/report/schema.ts';
import { reportOf, writeReportAt } from '../fakes/proof.ts';
import { makeImage } from './launch-fixture.ts';

const work = mkdtempSync(join(tmpdir(), 'clawdy-proof-'));
test.after.always(() => rmSync(work, { recursive: true, force: true }));

let number = 0;

/** An image with these changes to its manifest. */
function image(changes: Partial<ImageManifest> = {}): { dir: string; image: ImageManifest } {
  const dir = makeImage(join(work, String(number++)), ['01-loopback']);
  writeFileSync(join(dir, 'manifest.json'), JSON.stringify({ ...readImage(dir), ...changes }));
  return { dir, image: readImage(dir) };
}

test('a green report of the same disk lets an image pass, of scope full for both', (t) => {
  const one = image();
  writeReportAt(one.dir, 'report.json', JSON.stringify(reportOf(one.dir, 'ci')));
  t.is(requireProof(one.dir, one.image, 'ci').scope, 'ci');
  writeReportAt(one.dir, 'full/report.json', JSON.stringify(reportOf(one.dir, 'full')));
  t.is(requireProof(one.dir, one.image, 'full').scope, 'full');
  // The last one was of scope full.
  rmSync(join(one.dir, 'verify', 'report.json'));
  t.is(requireProof(one.dir, one.image, 'ci').scope, 'full');
});

test('without a proof of the scope nothing passes', (t) => {
  const one = image();
  t.throws(() => requireProof(one.dir, one.image, 'ci'), { message: /there is no proof of scope ci/ });
  writeReportAt(one.dir, 'report.json', JSON.stringify(reportOf(one.dir, 'ci')));
  t.throws(() => requireProof(one.dir, one.image, 'full'), { message: /there is no proof of scope full/ });
  writeReportAt(one.dir, 'full/report.json', JSON.stringify(reportOf(one.dir, 'ci')));
  t.throws(() => requireProof(one.dir, one.image, 'full'), { message: /of scope ci/ });
});

const FAULTS: [string, Partial<Report> | string, RegExp][] = [
  ['of another disk', { rawSha256: '1'.repeat(64) }, /of another disk/],
  ['of another image', { image: 'debian-13-20200101T000000Z-00000000' }, /is of debian-13-2020/],
  ['of a part', { only: 'layer 03-ssh' }, /of a part only/],
  ['with a failure', { totals: { declared: 2, executed: 2, passed: 1, failed: 1, skipped: 0 } }, /1 claims failed/],
  ['that skipped', { totals: { declared: 2, executed: 1, passed: 1, failed: 0, skipped: 0 } }, /1 of 2/],
  ['of nothing', { totals: { declared: 0, executed: 0, passed: 0, failed: 0, skipped: 0 } }, /0 of 0/],
  ['with another form', { schema: 2 } as unknown as Partial<Report>, /another form/],
  ['that is no JSON', 'green', /isn't JSON/],
];

for (const [what, changes, message] of FAULTS) {
  test(`a report ${what} proves nothing`, (t) => {
    const one = image();
    writeReportAt(
      one.dir,
      'full/report.json',
      typeof changes === 'string' ? changes : JSON.stringify(reportOf(one.dir, 'full', changes)),
    );
    t.throws(() => requireProof(one.dir, one.image, 'full'), { message, instanceOf: BuildError });
  });
}

const IMAGES: [string, Partial<ImageManifest>, RegExp][] = [
  [
    'a fallback',
    { base: { id: 'debian-13', sha256: '0'.repeat(64), fallback: { requested: 'ubuntu-24.04', reason: 'x' } } },
    /because ubuntu-24.04 couldn't be reached/,
  ],
  ['baked without a layer', { without: ['03-ssh'] }, /baked without 03-ssh/],
  [
    'with a layer that is only planned',
    { layers: [{ name: '09-audit', state: 'planned', sha256: '0'.repeat(64) }] },
    /09-audit isn't built yet/,
  ],
];

for (const [what, changes, message] of IMAGES) {
  test(`an image that is ${what} isn't published, whatever its report says`, (t) => {
    const one = image(changes);
    writeReportAt(one.dir, 'report.json', JSON.stringify(reportOf(one.dir, 'full')));
    writeReportAt(one.dir, 'full/report.json', JSON.stringify(reportOf(one.dir, 'full')));
    for (const scope of ['ci', 'full'] as const) t.throws(() => requireProof(one.dir, one.image, scope), { message });
  });
}
