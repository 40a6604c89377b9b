import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { Night } from '../../src/nightly/night.ts';
import { renderNights } from '../../src/nightly/page.ts';
import { doomedImages } from '../../src/nightly/tidy.ts';
import { BuildError, EXIT } from '../../src/process/errors.ts';
import { reportOf, writeReportAt } from '../fakes/proof.ts';
import { aNight, copyOf, keep, performer, putImage, worldOf } from './nightly-world.ts';

const work = mkdtempSync(join(tmpdir(), 'clawdy-nightly-'));
test.before(() => {
  process.env.XDG_STATE_HOME = join(work, 'state');
  // Docker's images are none of this test's.
  process.env.PATH = `${join(work, 'none')}:/nowhere`;
});
test.after.always(() => rmSync(work, { recursive: true, force: true }));

let roots = 0;
function newRoot(): string {
  const root = join(work, `root-${roots++}`);
  mkdirSync(join(root, 'rootfs', 'runtime'), { recursive: true });
  for (const name of ['package.json', 'package-lock.json']) writeFileSync(join(root, 'rootfs', 'runtime', name), 'old');
  return root;
}
const [OLD, NEW] = ['debian-13-20261101T000000Z-00000001', 'debian-13-20261101T000000Z-00000002'];

test('a night promotes on every cloud; the next one finds nothing new', async (t) => {
  const root = newRoot();
  const perform = performer(root);
  const first = await aNight(root, perform);
  t.is(first.verdict, 'promoted', first.said);
  t.deepEqual(worldOf(root).latest, {
    ...{ 'local debian-13': OLD, 'aws debian-13': OLD },
    ...{ 'local debian-12': OLD.replace('13', '12'), 'aws debian-12': OLD.replace('13', '12') },
  });
  // Nothing of a base is promoted before all of it is published everywhere.
  const order = perform.calls.filter((call) => call.includes('debian-13')).map((call) => call.split(' ')[0]);
  t.deepEqual(order, ['bake', 'verify', 'publish', 'publish', 'promote', 'promote']);
  const again = performer(root);
  const second = await aNight(root, again);
  t.is(second.verdict, 'nothing-new', second.said);
  t.regex(second.said as string, new RegExp(`debian-13: nothing new since ${OLD}`));
  t.false(
    again.calls.some((call) => call.startsWith('verify')),
    'what was proven is proven',
  );
});

/** What a night may meet, and what its line has to say. */
const POISONS: [string, RegExp, Parameters<typeof performer>[1]][] = [
  [
    'a red claim',
    /debian-13 proof: red claims: root-login \(container\); debian-13-\S+1 stays the latest/,
    ({ stage, args }) => {
      const path = args[args.indexOf('--image') + 1] as string;
      if (stage !== 'proof' || !path.includes('debian-13')) return;
      const verdict = { expected: 'denied', got: 'ok', ok: false, evidence: '' };
      const claim = {
        id: 'root-login',
        promise: '',
        target: 'container',
        tried: { control: '', attack: '', sabotage: '' },
      } as const;
      const claims = [{ ...claim, control: verdict, attack: verdict, sabotage: verdict, seconds: 1, ok: false }];
      const totals = { declared: 1, executed: 1, passed: 0, failed: 1, skipped: 0 };
      writeReportAt(
        path,
        'report.json',
        JSON.stringify(reportOf(path, 'ci', { layers: [{ id: 'l', title: '', promise: '', claims }], totals })),
      );
      throw new BuildError('proof', 'node exited with 1', 'repeat it');
    },
  ],
  [
    'a wrong signature',
    /debian-13 bake: base: SHA256SUMS isn't signed by vendor.gpg; debian-13-\S+1 stays/,
    ({ stage, args }) => {
      if (stage === 'bake' && args.includes('debian-13'))
        throw new BuildError('bake', 'node exited with 1', '', {
          tail: "✖ base: SHA256SUMS isn't signed by vendor.gpg\n  next: use nothing from there",
        });
    },
  ],
  [
    'a region that fails',
    /debian-13 aws publish: aws b: 503; debian-13-\S+1 stays/,
    ({ stage, args }) => {
      if (stage === 'publish' && args.includes('aws') && args.some((word) => word.includes('debian-13')))
        throw new BuildError('publish', 'node exited with 1', '', { tail: '✖ aws b: 503' });
    },
  ],
  [
    'a full disk',
    /debian-13 bake: ENOSPC: no space left on device; debian-13-\S+1 stays/,
    ({ stage, args }) => {
      if (stage === 'bake' && args.includes('debian-13')) throw new Error('ENOSPC: no space left on device');
    },
  ],
  [
    'a stage out of time',
    /debian-13 proof: node ran out of time; debian-13-\S+1 stays/,
    ({ stage, args }) => {
      if (stage === 'proof' && args.some((word) => word.includes('debian-13')))
        throw new BuildError('proof', 'node ran out of time', '');
    },
  ],
];
for (const [what, said, poison] of POISONS)
  test(`${what}: that base keeps what it has, the line says why, and another base goes on`, async (t) => {
    const root = newRoot();
    await aNight(root, performer(root));
    const before = worldOf(root);
    keep(root, { ...before, inputs: 2 });
    const perform = performer(root, poison);
    const night = await aNight(root, perform);
    t.is(night.verdict, 'red');
    t.regex(night.said as string, said);
    t.notRegex(night.said as string, /\n/);
    const { latest, pruned } = worldOf(root);
    for (const cloud of ['local', 'aws']) {
      t.is(latest[`${cloud} debian-13`], OLD);
      t.is(latest[`${cloud} debian-12`], NEW.replace('13', '12'));
    }
    t.is(pruned, before.pruned, 'nothing is removed after a bad night');
    // Mended, the next night does what this one didn't.
    const mended = await aNight(root, performer(root));
    t.is(mended.verdict, 'promoted', mended.said);
    t.is(worldOf(root).latest['aws debian-13'], NEW);
  });

test('a night that is killed anywhere is finished by the next run', async (t) => {
  const root = newRoot();
  await aNight(root, performer(root));
  keep(root, { ...worldOf(root), inputs: 2 });
  const moments: string[] = [];
  // After each command's effect, before it is written down; and after that.
  const snapshot = () => moments.push(copyOf(root, `at-${moments.length}`));
  const perform = performer(root);
  const whole = await aNight(
    root,
    async (call) => {
      const result = await perform(call);
      snapshot();
      return result;
    },
    { each: snapshot },
  );
  t.is(whole.verdict, 'promoted');
  const wanted = worldOf(root);
  t.true(moments.length > 25, `${moments.length}`);
  for (const moment of moments) {
    // Images are where they were: the journal knows their paths.
    const resumed = performer(moment);
    const night = await aNight(moment, resumed);
    t.true(night.resumed);
    t.is(night.verdict === 'red', false, night.said);
    const { pruned: _, ...world } = worldOf(moment);
    const { pruned: __, ...same } = wanted;
    t.deepEqual(world, same, moment);
    t.is(Night.all(join(moment, 'nights')).length, 2);
  }
});

test('of a night that went wrong the runtime goes back, but not behind what was promoted', async (t) => {
  const runtime = (root: string) => readFileSync(join(root, 'rootfs/runtime/package.json'), 'utf8');
  const update = async (root: string, _: unknown, kept: string) => {
    mkdirSync(kept, { recursive: true });
    for (const name of ['package.json', 'package-lock.json']) {
      writeFileSync(join(kept, name), readFileSync(join(root, 'rootfs/runtime', name)));
      writeFileSync(join(root, 'rootfs/runtime', name), 'new');
    }
    return { openclaw: { from: '1', to: '2' } };
  };
  const fail = (bases: string[]) => (call: { stage: string; args: string[] }) => {
    if (call.stage === 'bake' && bases.some((base) => call.args.includes(base)))
      throw new BuildError('bake', 'broken', '');
  };
  const all = newRoot();
  t.is((await aNight(all, performer(all, fail(['debian-12', 'debian-13'])), { update })).verdict, 'red');
  t.is(runtime(all), 'old');
  const some = newRoot();
  t.is((await aNight(some, performer(some, fail(['debian-12'])), { update })).verdict, 'red');
  t.is(runtime(some), 'new');
  const none = newRoot();
  const broken = async () => {
    throw new BuildError('update', "the registry isn't reached", '');
  };
  const night = await aNight(none, performer(none), { update: broken });
  t.is(night.verdict, 'red');
  t.regex(night.said as string, /debian-13: update: the registry isn't reached/);
  t.deepEqual(worldOf(none).latest, {});
});

test('what grew beyond the bound stops, what grew less is said; fewer claims stop', async (t) => {
  const root = newRoot();
  await aNight(root, performer(root));
  const grown = async (inputs: number, change: object) => {
    keep(root, { ...worldOf(root), inputs });
    return aNight(root, async (call) => {
      const result = (await performer(root)(call)) as { id: string };
      if (call.stage === 'bake' && call.args.includes('debian-13')) putImage(root, result.id, 'debian-13', change);
      return result;
    });
  };
  const disk = (qcow2Size: number) => ({ disk: { rawSha256: '0'.repeat(64), rawSize: 1, qcow2Size } });
  const stopped = await grown(2, disk(2500));
  t.is(stopped.verdict, 'red');
  t.regex(
    stopped.said as string,
    /debian-13 changes: size grew by 150 % \(1000 → 2500\), more than 100 %; debian-13-\S+1 stays/,
  );
  const warned = await grown(3, {
    ...disk(1300),
    packages: ['openssl 2', 'zlib 1'],
    runtime: { openclaw: '2', node: '1' },
  });
  t.is(warned.verdict, 'promoted', warned.said);
  t.regex(warned.said as string, /otherwise than debian-13-\S+1: 2 packages, openclaw 1 → 2; size grew by 30 %/);
  const changes = warned.stages.find(({ stage, base }) => stage === 'changes' && base === 'debian-13')?.result;
  t.like(changes, { packages: { added: ['zlib 1'], changed: ['openssl 1 → 2'], removed: [] } });
  const page = renderNights(Night.all(join(root, 'nights')).map(({ record }) => record));
  t.is(page.match(/<svg /g)?.length, 8, 'four plots a base');
  t.regex(page, /<td class="red">red<\/td>/);
});

test('a journal that can’t be read is said; other settings begin another night', (t) => {
  const nights = join(newRoot(), 'nights');
  mkdirSync(nights);
  const at = (day: number) => new Date(Date.UTC(2026, 10, day));
  const { night } = Night.open(nights, 'a', at(1));
  t.true(Night.open(nights, 'a', at(2)).resumed);
  t.false(Night.open(nights, 'b', at(3)).resumed);
  writeFileSync(join(night.dir, 'night.json'), '{');
  const error = t.throws(() => Night.all(nights), { instanceOf: BuildError, message: /can't be read/ });
  t.is(error?.exitCode, EXIT.input);
});

test('of this machine’s images the newest stay, and whatever is needed', (t) => {
  const root = newRoot();
  const id = (base: string, number: number) => `${base}-20261101T000000Z-0000000${number}`;
  for (const base of ['debian-13', 'debian-12'])
    for (const number of [1, 2, 3, 4, 5]) putImage(root, id(base, number), base);
  const dist = join(root, 'dist');
  symlinkSync(id('debian-13', 2), join(dist, 'latest'));
  mkdirSync(join(dist, '.failed'));
  t.deepEqual(doomedImages(dist, 2, [id('debian-12', 1)]).sort(), [
    ...[id('debian-12', 2), id('debian-12', 3)],
    ...[id('debian-13', 1), id('debian-13', 3)],
  ]);
  t.true(existsSync(join(dist, id('debian-13', 1))), 'it only decides');
});
