import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import type { Channel, CloudImage, Published } from '../../src/clouds/cloud.ts';
import { BuildError } from '../../src/process/errors.ts';
import { blocksFile, Journal } from '../../src/publish/journal.ts';
import { carryOut, planPromote, planRollback, renderMove } from '../../src/publish/promote.ts';
import { carryOutPrune, planPrune, renderDecision } from '../../src/publish/prune.ts';
import { MemoryCloud } from '../fakes/memory-cloud.ts';

const work = mkdtempSync(join(tmpdir(), 'clawdy-promote-'));
test.after.always(() => rmSync(work, { recursive: true, force: true }));

const BASE = 'debian-13';
const OLD = 'debian-13-20261116T000000Z-00000001';
const HALF = 'debian-13-20261125T000000Z-00000002';
const NOW = Date.parse('2026-11-25T00:00:00Z');
const daysAgo = (days: number) => new Date(NOW - days * 24 * 3600_000).toISOString();

/** Puts an image into regions of a cloud. */
function put(cloud: MemoryCloud, image: string, changes: Partial<CloudImage> = {}, regions = cloud.regions): void {
  for (const region of regions)
    cloud.images.push({
      ...{ region, imageId: `ami-${image}-${region}`, snapshotId: `snap-${image}`, image, base: BASE },
      ...{ digest: '0'.repeat(32), run: `run-${image}`, created: daysAgo(1), proven: true, usedBy: [] },
      ...changes,
      channels: [...(changes.channels ?? [])],
    });
}

const channel = (cloud: MemoryCloud, name: Channel) =>
  cloud.regions.map(
    (region) => cloud.images.find((one) => one.region === region && one.channels.includes(name))?.image,
  );

test('promote moves what every region has, remembers what was latest, and does it once', async (t) => {
  const cloud = new MemoryCloud('one', 'two');
  put(cloud, 'old', { channels: ['latest'] });
  put(cloud, 'new', { channels: ['candidate'] });
  put(cloud, 'other-base', { channels: ['latest', 'candidate'], base: 'debian-12' });
  const moves = await planPromote(cloud, BASE, undefined);
  t.deepEqual(moves.map(renderMove), [
    'one: previous none → old',
    'one: latest old → new',
    'two: previous none → old',
    'two: latest old → new',
  ]);
  await carryOut(cloud, BASE, moves);
  t.deepEqual(channel(cloud, 'previous'), ['old', 'old']);
  t.deepEqual(await planPromote(cloud, BASE, undefined), []);
  t.deepEqual(cloud.images.find(({ base }) => base === 'debian-12')?.channels, ['latest', 'candidate']);

  await carryOut(cloud, BASE, await planRollback(cloud, BASE));
  t.deepEqual(channel(cloud, 'latest'), ['old', 'old']);
  t.deepEqual(channel(cloud, 'previous'), [undefined, undefined]);
  await t.throwsAsync(planRollback(cloud, BASE), { message: /nothing was latest before/ });
});

test('promote and rollback that were cut short anywhere are finished by the next', async (t) => {
  for (let cut = 0; cut < 4; cut++) {
    const cloud = new MemoryCloud('one', 'two');
    put(cloud, 'old', { channels: ['latest'] });
    put(cloud, 'new', { channels: ['candidate'] });
    await carryOut(cloud, BASE, (await planPromote(cloud, BASE, undefined)).slice(0, cut));
    await carryOut(cloud, BASE, await planPromote(cloud, BASE, undefined));
    t.deepEqual(
      [channel(cloud, 'latest'), channel(cloud, 'previous')],
      [
        ['new', 'new'],
        ['old', 'old'],
      ],
    );
    await carryOut(cloud, BASE, (await planRollback(cloud, BASE)).slice(0, cut));
    await carryOut(cloud, BASE, await planRollback(cloud, BASE));
    t.deepEqual(
      [channel(cloud, 'latest'), channel(cloud, 'previous')],
      [
        ['old', 'old'],
        [undefined, undefined],
      ],
    );
  }
});

test('a promotion that only remembered isn’t rolled back: that would forget what was latest before', async (t) => {
  const cloud = new MemoryCloud('one', 'two');
  put(cloud, 'older', { channels: ['previous'] });
  put(cloud, 'old', { channels: ['latest'] });
  put(cloud, 'new', { channels: ['candidate'] });
  await carryOut(cloud, BASE, (await planPromote(cloud, BASE, undefined)).slice(0, 1));
  await t.throwsAsync(planRollback(cloud, BASE), { message: /never took effect/ });
  await carryOut(cloud, BASE, await planPromote(cloud, BASE, undefined));
  await carryOut(cloud, BASE, await planRollback(cloud, BASE));
  t.deepEqual(channel(cloud, 'latest'), ['old', 'old']);
});

test('what was promoted or launched while prune waited for an answer stays', async (t) => {
  const cloud = new MemoryCloud('one');
  put(cloud, 'new');
  put(cloud, 'promoted', { created: daysAgo(9) });
  put(cloud, 'launched', { created: daysAgo(9) });
  put(cloud, 'old', { created: daysAgo(9) });
  const decisions = await planPrune(cloud, join(work, 'none'), { keep: 1, graceDays: 0 }, NOW);
  (cloud.images[1] as CloudImage).channels.push('latest');
  (cloud.images[2] as CloudImage).usedBy.push('i-1');
  const said: string[] = [];
  const outcome = await carryOutPrune(cloud, join(work, 'none'), decisions, ({ act }) => said.push(act));
  t.deepEqual(
    cloud.images.map(({ image }) => image),
    ['new', 'promoted', 'launched'],
  );
  // What is said is what was done.
  t.deepEqual(said, ['remove']);
  t.deepEqual(outcome.map(({ act, why }) => `${act}: ${why}`).slice(1), [
    'keep: since then: latest',
    'keep: since then: i-1',
    'remove: no grace',
  ]);

  put(cloud, 'older', { created: daysAgo(10) });
  const later = await planPrune(cloud, join(work, 'none'), { keep: 1, graceDays: 7 }, NOW);
  (cloud.images.at(-1) as CloudImage).channels.push('candidate');
  await carryOutPrune(cloud, join(work, 'none'), later, () => {});
  t.is(cloud.images.at(-1)?.deprecated, undefined);
});

test('what fails doesn’t keep the rest from going, and what costs most goes first', async (t) => {
  const cloud = new MemoryCloud('one', 'two');
  put(cloud, 'new');
  for (const name of ['a', 'b']) put(cloud, name, { created: daysAgo(9), deprecated: daysAgo(8) }, ['one']);
  cloud.things.push({ region: 'two', kind: 'server', id: 'left', run: 'y', created: daysAgo(2) });
  put(cloud, 'c', { created: daysAgo(9) }, ['two']);
  const decisions = await planPrune(cloud, join(work, 'none'), { keep: 1, graceDays: 7 }, NOW);
  cloud.failing.set('one remove', new BuildError('memory', 'refused', 'ask'));
  const error = await t.throwsAsync(
    carryOutPrune(cloud, join(work, 'none'), decisions, () => {}),
    {
      instanceOf: BuildError,
    },
  );
  t.is(error.message, '2 things failed, the rest is done: refused; refused');
  t.deepEqual(cloud.calls, ['two sweep', 'one remove', 'one remove', 'two deprecate']);
  cloud.failing.set('one remove', new TypeError('a bug of ours'));
  await t.throwsAsync(
    carryOutPrune(cloud, join(work, 'none'), decisions, () => {}),
    { instanceOf: TypeError },
  );
});

test('nothing is promoted that a region lacks, that wasn’t proven, or that is on its way out', async (t) => {
  const lacking = new MemoryCloud('one', 'two');
  put(lacking, 'new', { channels: ['candidate'] }, ['one']);
  await t.throwsAsync(planPromote(lacking, BASE, undefined), { message: /different candidates: one new, two none/ });
  await t.throwsAsync(planPromote(lacking, BASE, 'new'), { message: /two has no new/ });
  for (const [fault, message] of [
    [{ proven: false }, /new isn't proven in one/],
    [{ deprecated: daysAgo(0) }, /new is deprecated in one/],
  ] as const) {
    const cloud = new MemoryCloud('one');
    put(cloud, 'new', { channels: ['candidate'], ...fault });
    await t.throwsAsync(planPromote(cloud, BASE, undefined), { message });
  }
  await t.throwsAsync(planPromote(new MemoryCloud('one'), BASE, undefined), { message: /no candidate of debian-13/ });
  for (const [fault, message] of [
    [{ proven: false }, /old isn't proven in one/],
    [{ deprecated: daysAgo(0) }, /old is deprecated in one/],
  ] as const) {
    const cloud = new MemoryCloud('one');
    put(cloud, 'old', { channels: ['previous'], ...fault });
    await t.throwsAsync(planRollback(cloud, BASE), { message });
  }
  const forged = new MemoryCloud('one', 'two');
  put(forged, 'new', { channels: ['candidate', 'previous'] }, ['one']);
  put(forged, 'new', { channels: ['candidate', 'previous'], digest: '1'.repeat(32) }, ['two']);
  await t.throwsAsync(planPromote(forged, BASE, undefined), { message: /different disks by this name/ });
  await t.throwsAsync(planRollback(forged, BASE), { message: /different disks by this name/ });
  const partly = new MemoryCloud('one', 'two');
  put(partly, 'old', { channels: ['previous'] }, ['one']);
  await t.throwsAsync(planRollback(partly, BASE), { message: /two has no old to go back to/ });
});

// Hetzner's labels: the new one has got it, and the old one hasn't lost it yet.
test('a move that was cut short between two labels is finished by the next', async (t) => {
  const cut = (channels: { old: Channel[]; new: Channel[]; older?: Channel[] }) => {
    const cloud = new MemoryCloud('one');
    put(cloud, 'new', { channels: channels.new });
    put(cloud, 'old', { channels: channels.old });
    put(cloud, 'older', { channels: channels.older ?? [] });
    return cloud;
  };
  const all = (cloud: MemoryCloud) => cloud.images.map(({ image, channels }) => [image, ...channels].join(' '));
  for (const channels of [
    { old: ['latest', 'previous'], new: ['candidate', 'latest'] },
    { old: ['latest', 'previous'], new: ['candidate'], older: ['previous'] },
  ] satisfies Parameters<typeof cut>[0][]) {
    const cloud = cut(channels);
    await carryOut(cloud, BASE, await planPromote(cloud, BASE, undefined));
    t.deepEqual(all(cloud), ['new candidate latest', 'old previous', 'older']);
    t.deepEqual(await planPromote(cloud, BASE, undefined), []);
  }
  const back = cut({ old: ['previous', 'latest'], new: ['latest'] });
  await carryOut(back, BASE, await planRollback(back, BASE));
  t.deepEqual(all(back), ['new', 'old latest', 'older']);

  const remembering = cut({ old: ['latest', 'previous'], new: ['candidate'], older: ['previous'] });
  await t.throwsAsync(planRollback(remembering, BASE), { message: /last promotion was cut short/ });
  const publishing = cut({ old: ['candidate'], new: ['candidate'] });
  await t.throwsAsync(planPromote(publishing, BASE, undefined), {
    message: /publication was cut short: one new and old/,
  });
});

async function pruned(cloud: MemoryCloud, dir: string, options = { keep: 2, graceDays: 7 }): Promise<string[]> {
  const decisions = await planPrune(cloud, dir, options, NOW);
  await carryOutPrune(cloud, dir, decisions, () => {});
  return decisions.map(
    (decision) => `${decision.act} ${'image' in decision ? decision.image.image : decision.orphan.id}`,
  );
}

test('prune keeps the newest, what a channel names and what is in use; the rest goes in two steps', async (t) => {
  const cloud = new MemoryCloud('one');
  for (const age of [1, 2, 3, 4, 5, 6]) put(cloud, `age-${age}`, { created: daysAgo(age) });
  put(cloud, 'used', { created: daysAgo(20), usedBy: ['i-1'] });
  put(cloud, 'rolled-back-to', { created: daysAgo(21), channels: ['previous'] });
  put(cloud, 'fresh-grace', { created: daysAgo(22), deprecated: daysAgo(6.5) });
  // What is deprecated takes no place among the newest.
  put(cloud, 'youngest', { created: daysAgo(0.2), deprecated: daysAgo(0.1) });
  put(cloud, 'over', { created: daysAgo(23), deprecated: daysAgo(7) });
  put(cloud, 'alone-in-its-base', { created: daysAgo(30), base: 'debian-12' });
  t.deepEqual(await pruned(cloud, join(work, 'none')), [
    ...[
      'keep youngest',
      'keep age-1',
      'keep age-2',
      'deprecate age-3',
      'deprecate age-4',
      'deprecate age-5',
      'deprecate age-6',
    ],
    ...['keep used', 'keep rolled-back-to', 'keep fresh-grace', 'remove over', 'keep alone-in-its-base'],
  ]);
  t.false(cloud.images.some(({ image }) => image === 'over'));
  t.truthy(cloud.images.find(({ image }) => image === 'age-3')?.deprecated);
  t.is(cloud.images.length, 11);
});

test('without a grace old images go at once, and the journals know', async (t) => {
  const cloud = new MemoryCloud('one');
  const dir = join(work, 'journals');
  put(cloud, 'new');
  const image: Published = { id: OLD, base: BASE, created: daysAgo(9), rawSha256: '0'.repeat(64), rawSize: 1 };
  put(cloud, OLD, { created: image.created, run: 'run-old' });
  put(cloud, 'elsewhere', { base: 'debian-12' });
  const journal = Journal.open(dir, image);
  const entry = journal.begin('memory', 'one', 'run-old');
  journal.update(entry, { state: 'recorded', image_id: `ami-${OLD}-one`, snapshot_id: 'snap-old' });
  writeFileSync(blocksFile(dir, OLD), '{}');
  // It is published elsewhere too: there its blocks are still built on.
  const other = journal.begin('other-cloud', 'one', 'run-other');
  journal.update(other, { state: 'recorded', image_id: 'x', snapshot_id: 'y' });
  const expected = ['keep new', 'keep elsewhere', `remove ${OLD}`];
  t.deepEqual(await pruned(cloud, dir, { keep: 1, graceDays: 0 }), expected);
  t.deepEqual(
    Journal.read(dir, OLD)?.publications.map(({ state }) => state),
    ['removed', 'recorded'],
  );
  t.true(existsSync(blocksFile(dir, OLD)));
  journal.update(other, { state: 'removed' });
  put(cloud, OLD, { created: image.created, run: 'run-old' });
  await pruned(cloud, dir, { keep: 1, graceDays: 0 });
  t.false(existsSync(blocksFile(dir, OLD)));
});

test('what interrupted runs left is swept: ours at once, others’ after a day, never of unknown age', async (t) => {
  const cloud = new MemoryCloud('one');
  const dir = join(work, 'sweep');
  const image: Published = { id: HALF, base: BASE, created: daysAgo(0), rawSha256: '0'.repeat(64), rawSize: 1 };
  const journal = Journal.open(dir, image);
  journal.begin('memory', 'one', 'ours');
  // In another cloud a run may have any name.
  journal.begin('other-cloud', 'one', 'x');
  put(cloud, HALF, { proven: false, run: 'ours' });
  put(cloud, 'foreign-young', { proven: false, run: 'x', created: daysAgo(0.5) });
  put(cloud, 'foreign-ageless', { proven: false, run: 'x', created: '' });
  put(cloud, 'foreign-old', { proven: false, run: 'y', created: daysAgo(2) });
  const thing = (id: string, run: string, created?: string) => ({ region: 'one', kind: 'server', id, run, created });
  cloud.things.push(
    ...[thing('mine', 'ours', daysAgo(0)), thing('young', 'x', daysAgo(0.5))],
    ...[thing('old', 'y', daysAgo(2)), thing('ageless', 'z')],
  );
  const decisions = await planPrune(cloud, dir, { keep: 3, graceDays: 7 }, NOW);
  t.regex(
    decisions.map(renderDecision).join('\n'),
    new RegExp(`remove {4}one {2}${HALF} \\(ami-${HALF}-one\\): left by a run`),
  );
  t.deepEqual(await pruned(cloud, dir), [
    ...['keep foreign-young', `remove ${HALF}`, 'remove foreign-old', 'keep foreign-ageless'],
    ...['sweep mine', 'leave young', 'sweep old', 'leave ageless'],
  ]);
  t.deepEqual(
    cloud.things.map(({ id }) => id),
    ['young', 'ageless'],
  );
  // What it would have gone on with is gone, although it never heard an ID.
  t.is(Journal.read(dir, HALF)?.publications[0]?.state, 'removed');
});
