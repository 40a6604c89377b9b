import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import type { CloudImage, Published } from '../../src/clouds/cloud.ts';
import { BuildError, EXIT } from '../../src/process/errors.ts';
import { blocksFile, Journal } from '../../src/publish/journal.ts';
import { carryOutPrune, planPrune, renderDecision } from '../../src/publish/prune.ts';
import { MemoryCloud } from '../fakes/memory-cloud.ts';
import { BASE, daysAgo, NOW, put } from './published-images.ts';

const work = mkdtempSync(join(tmpdir(), 'clawdy-prune-'));
test.after.always(() => rmSync(work, { recursive: true, force: true }));

const OLD = 'debian-13-20261116T000000Z-00000001';
const HALF = 'debian-13-20261125T000000Z-00000002';

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
  t.is(error.message, '2 things failed: refused; refused');
  t.is(error.exitCode, EXIT.failed);
  t.deepEqual(cloud.calls, ['two sweep', 'one remove', 'one remove', 'two deprecate']);
  cloud.failing.set('one remove', new TypeError('a bug of ours'));
  await t.throwsAsync(
    carryOutPrune(cloud, join(work, 'none'), decisions, () => {}),
    { instanceOf: TypeError },
  );
  // Where nobody may do anything, it is asked once; one permission that is missing isn't that.
  const revoked = new BuildError('memory', 'the token was revoked', 'make one', { exitCode: EXIT.input, forAll: true });
  const denied = new BuildError('memory', 'denied', 'allow it', { exitCode: EXIT.prerequisite });
  const ends = async (one: Error, other: Error) => {
    cloud.calls.length = 0;
    cloud.failing.set('one remove', one);
    cloud.failing.set('two deprecate', other);
    const pruning = carryOutPrune(cloud, join(work, 'none'), decisions, () => {});
    const { message, exitCode } = await t.throwsAsync(pruning, { instanceOf: BuildError });
    return [cloud.calls.length, message, exitCode];
  };
  t.deepEqual(await ends(revoked, denied), [2, 'the token was revoked', EXIT.input]);
  t.deepEqual(await ends(denied, revoked), [4, '3 things failed: denied; denied; the token was revoked', EXIT.input]);
  t.deepEqual(await ends(denied, denied), [4, '3 things failed: denied; denied; denied', EXIT.prerequisite]);
});

test('what is gone meanwhile is no error, and the journals know', async (t) => {
  const cloud = new MemoryCloud('one');
  const dir = join(work, 'gone');
  put(cloud, 'new');
  put(cloud, OLD, { created: daysAgo(9) });
  const journal = Journal.open(dir, {
    id: OLD,
    base: BASE,
    created: daysAgo(9),
    rawSha256: '0'.repeat(64),
    rawSize: 1,
  });
  // Hetzner's snapshots are in every region: whichever the journal names.
  const entry = journal.begin('memory', 'elsewhere', 'run-of-it');
  journal.update(entry, { state: 'recorded', image_id: `ami-${OLD}-one`, snapshot_id: 's', recorded: daysAgo(9) });
  const decisions = await planPrune(cloud, dir, { keep: 1, graceDays: 7 }, NOW);
  cloud.images.pop();
  const [, gone] = await carryOutPrune(cloud, dir, decisions, () => t.fail('nothing was done'));
  t.like(gone, { act: 'keep', why: 'since then: it is no more among our images' });
  // It may only have lost our label: what isn't ours isn't removed.
  t.deepEqual(cloud.calls, []);
  t.is(Journal.read(dir, OLD)?.publications[0]?.state, 'removed');
});

test('an image that was published keeps its time though its label is gone', async (t) => {
  const cloud = new MemoryCloud('one');
  const dir = join(work, 'unlabelled');
  put(cloud, OLD, { created: daysAgo(9), proven: false, run: 'ours' });
  const image: Published = { id: OLD, base: BASE, created: daysAgo(9), rawSha256: '0'.repeat(64), rawSize: 1 };
  const journal = Journal.open(dir, image);
  const entry = journal.begin('memory', 'one', 'ours');
  const ids = { image_id: `ami-${OLD}-one`, snapshot_id: 's' };
  journal.update(entry, { state: 'registered', ...ids, recorded: daysAgo(9) });
  const plan = async () => (await planPrune(cloud, dir, { keep: 1, graceDays: 7 }, NOW)).map(({ act }) => act);
  t.deepEqual(await plan(), ['keep']);
  put(cloud, 'new');
  t.deepEqual(await plan(), ['keep', 'deprecate']);
  // In another cloud it may have been published; and what was removed is gone, whatever has its name now.
  journal.update(entry, { cloud: 'other-cloud' });
  t.deepEqual(await plan(), ['keep', 'remove']);
  journal.update(entry, { cloud: 'memory', state: 'removed' });
  t.deepEqual(await plan(), ['keep', 'remove']);
  journal.update(entry, { state: 'registered' });
  // One that was never published is half-made.
  journal.update(entry, { recorded: null });
  t.deepEqual(await plan(), ['keep', 'remove']);
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
  journal.update(journal.begin('memory', 'one', 'half'), { state: 'uploaded' });
  const thing = (id: string, run: string, created?: string) => ({ region: 'one', kind: 'server', id, run, created });
  cloud.things.push(
    ...[thing('mine', 'ours', daysAgo(0)), thing('half', 'half', daysAgo(0)), thing('young', 'x', daysAgo(0.5))],
    ...[thing('old', 'y', daysAgo(2)), thing('ageless', 'z')],
  );
  const decisions = await planPrune(cloud, dir, { keep: 3, graceDays: 7 }, NOW);
  t.regex(
    decisions.map(renderDecision).join('\n'),
    new RegExp(`remove {4}one {2}${HALF} \\(ami-${HALF}-one\\): left by a run`),
  );
  t.deepEqual(await pruned(cloud, dir), [
    ...['keep foreign-young', `remove ${HALF}`, 'remove foreign-old', 'keep foreign-ageless'],
    ...['sweep mine', 'sweep half', 'leave young', 'sweep old', 'leave ageless'],
  ]);
  t.deepEqual(
    cloud.things.map(({ id }) => id),
    ['young', 'ageless'],
  );
  // What it would have gone on with is gone, although it never heard an ID.
  t.deepEqual(
    Journal.read(dir, HALF)?.publications.map(({ run, state }) => `${run} ${state}`),
    ['ours removed', 'x started', 'half failed'],
  );
});
