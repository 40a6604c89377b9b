import { rmSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { Journal } from '../../src/publish/journal.ts';
import { publishedOf, publish as publishImage } from '../../src/publish/publish.ts';
import { MemoryCloud } from '../fakes/memory-cloud.ts';
import { passing, published, Quiet, setting } from './publish-fixture.ts';

test.serial('a found image counts only if it is of these bytes, checked, and not on its way out', async (t) => {
  const cases = [
    [{ digest: '1'.repeat(32), proven: true }, undefined, 'upload'],
    [{ digest: '', proven: true }, undefined, 'upload'],
    [{ proven: false, created: new Date().toISOString() }, /not checked it yet/, undefined],
    [{ proven: false }, undefined, 'boot'],
    [{ proven: true, deprecated: '2026-11-24T00:00:00.000Z' }, /is deprecated in one/, undefined],
    [{ proven: true, snapshotId: '' }, undefined, 'upload'],
    [{ proven: true }, undefined, 'prove'],
  ] as const;
  for (const [changes, refused, first] of cases) {
    const { cloud, publish, image } = setting(new MemoryCloud('one'));
    cloud.images.push({ ...published(image), imageId: 'found', ...changes });
    if (refused) await t.throwsAsync(publish(), { message: refused });
    else await publish();
    t.is(cloud.calls[0], first && `one ${first}`);
  }
});

test.serial(
  'interrupted before it heard an ID: what another run has proven meanwhile is taken, not made twice',
  async (t) => {
    const { cloud, publish, image, dir, states } = setting(new MemoryCloud('one'));
    const journal = Journal.open(dir, publishedOf(image));
    journal.begin('memory', 'one', 'ours');
    cloud.images.push({ ...published(image), run: 'ours', imageId: 'ours', proven: false });
    cloud.things.push({ region: 'one', kind: 'server', id: 'left', run: 'ours' });
    cloud.images.push({ ...published(image), run: 'theirs', imageId: 'theirs' });
    const { publications } = await publish();
    t.like(publications, [{ image_id: 'theirs' }]);
    t.deepEqual(
      cloud.images.map(({ imageId }) => imageId),
      ['theirs'],
    );
    t.deepEqual([cloud.things, states()], [[], ['one failed', 'one recorded']]);
  },
);

test.serial('an image that has lost its label is looked at again, and gets it back', async (t) => {
  const { cloud, publish, states, inputs } = setting(new MemoryCloud('one'));
  await publish();
  for (const one of cloud.images) one.proven = false;
  // A look that fails takes nothing away: whoever was told its ID goes on with it.
  cloud.console = 'clawdy: almost live ok\n';
  const patience = { pollMs: 5, bundleMs: 50, liveMs: 50 };
  await t.throwsAsync(publishImage({ ...inputs, patience }, new Quiet()), { message: /bundle didn't come/ });
  t.deepEqual([cloud.images.length, states()], [1, ['one registered']]);
  cloud.console = new MemoryCloud('one').console;
  const calls = cloud.calls.length;
  await publish();
  t.deepEqual(cloud.calls.slice(calls), ['one boot', 'one prove', 'one channel candidate']);
  t.true(cloud.images[0]?.proven);
  t.deepEqual(states(), ['one recorded']);
});

test.serial('the last that is published is the candidate, also when it was there before', async (t) => {
  const one = setting(new MemoryCloud('one'));
  await one.publish();
  const [image] = one.cloud.images;
  if (image) image.channels = [];
  await one.publish();
  t.deepEqual(image?.channels, ['candidate']);

  // Cut short after it was labelled, before the other lost its label.
  const other = { ...published(one.image), image: 'another', channels: ['candidate' as const] };
  one.cloud.images.push(other);
  one.cloud.failing.set('one unlabel candidate', passing());
  await t.throwsAsync(one.publish(), { message: 'a passing fault' });
  t.deepEqual([image?.channels, other.channels], [['candidate'], ['candidate']]);
  one.cloud.failing.clear();
  await one.publish();
  t.deepEqual([image?.channels, other.channels], [['candidate'], []]);
});

test.serial('of several by one name a sound one counts, and one that is proven', async (t) => {
  const deprecated = setting(new MemoryCloud('one'));
  const old = { ...published(deprecated.image), imageId: 'old', deprecated: '2026-11-24T00:00:00.000Z' };
  deprecated.cloud.images.push(old, published(deprecated.image));
  t.like((await deprecated.publish()).publications, [{ image_id: 'found' }]);

  // Ours was never checked; another run's was, meanwhile.
  const { cloud, publish, image, dir, states } = setting(new MemoryCloud('one'));
  const journal = Journal.open(dir, publishedOf(image));
  const entry = journal.begin('memory', 'one', 'ours');
  journal.update(entry, { state: 'registered', image_id: 'ours', snapshot_id: 'snap-ours' });
  cloud.images.push({ ...published(image), run: 'ours', imageId: 'ours', proven: false }, published(image));
  t.like((await publish()).publications, [{ image_id: 'found' }]);
  t.deepEqual([states(), cloud.images.length], [['one failed', 'one recorded'], 1]);

  // Ours was published once, and has lost its label: whoever launched from it goes on.
  const told = setting(new MemoryCloud('one'));
  const known = Journal.open(told.dir, publishedOf(told.image));
  const recorded = { image_id: 'ours', snapshot_id: 'snap-ours', recorded: told.image.created };
  known.update(known.begin('memory', 'one', 'ours'), { state: 'recorded', ...recorded });
  told.cloud.images.push({ ...published(told.image), run: 'ours', imageId: 'ours', proven: false });
  told.cloud.images.push(published(told.image));
  t.like((await told.publish()).publications, [{ image_id: 'found' }]);
  t.is(told.cloud.images.length, 2);

  // Its ID is gone, and another of the same run isn't taken for it.
  const lost = setting(new MemoryCloud('one'));
  const entry2 = Journal.open(lost.dir, publishedOf(lost.image));
  const gone = { image_id: 'gone', snapshot_id: 'snap' };
  entry2.update(entry2.begin('memory', 'one', 'ours'), { state: 'registered', ...gone });
  lost.cloud.images.push({ ...published(lost.image), run: 'ours', proven: false });
  await lost.publish();
  t.deepEqual(lost.states(), ['one removed', 'one recorded']);
});

test.serial('interrupted before it heard the ID of what it has proven: that is its own', async (t) => {
  const { cloud, publish, image, dir, states } = setting(new MemoryCloud('one'));
  Journal.open(dir, publishedOf(image)).begin('memory', 'one', 'ours');
  cloud.images.push({ ...published(image), run: 'ours' });
  await publish();
  t.deepEqual(states(), ['one recorded']);
});

test.serial("an image that only couldn't be booted stays for the next run, which doesn't upload again", async (t) => {
  const { cloud, publish, states, journal } = setting();
  cloud.failing.set('two boot', passing());
  await t.throwsAsync(publish(), { message: 'a passing fault' });
  t.deepEqual(states(), ['one recorded', 'two registered']);
  t.deepEqual(cloud.things, []);
  cloud.failing.clear();
  // A run that was killed meanwhile has left its machine.
  const run = journal().find('memory', 'two')?.run as string;
  cloud.things.push({ region: 'two', kind: 'instance', id: 'i-killed', run });
  await publish();
  t.deepEqual(states(), ['one recorded', 'two recorded']);
  t.is(cloud.calls.filter((call) => /upload|copy/.test(call)).length, 2);
});

test.serial(
  'an image that is gone from the cloud is published anew; one whose journal is gone is taken up',
  async (t) => {
    const { cloud, publish, states, dir, image } = setting(new MemoryCloud('one'));
    await publish();
    cloud.images.length = 0;
    await publish();
    t.deepEqual(states(), ['one removed', 'one recorded']);
    rmSync(join(dir, `${image.id}.json`));
    const calls = cloud.calls.length;
    await publish();
    t.deepEqual(cloud.calls.slice(calls), ['one prove', 'one channel candidate']);
    t.deepEqual(states(), ['one recorded']);
  },
);
