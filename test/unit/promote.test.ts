import test from 'ava';
import type { Channel, CloudImage } from '../../src/clouds/cloud.ts';
import { carryOut, type Move, planPromote, planRollback, renderMove } from '../../src/publish/promote.ts';
import { MemoryCloud } from '../fakes/memory-cloud.ts';
import { BASE, daysAgo, put } from './published-images.ts';

const channel = (cloud: MemoryCloud, name: Channel) =>
  cloud.regions.map(
    (region) => cloud.images.find((one) => one.region === region && one.channels.includes(name))?.image,
  );

/** What would change; the others are only repeated. */
const changes = (moves: Move[]) => moves.filter(({ isDone }) => !isDone);

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
  t.deepEqual(changes(await planPromote(cloud, BASE, undefined)), []);
  t.deepEqual(cloud.images.find(({ base }) => base === 'debian-12')?.channels, ['latest', 'candidate']);

  await carryOut(cloud, BASE, await planRollback(cloud, BASE));
  t.deepEqual(channel(cloud, 'latest'), ['old', 'old']);
  t.deepEqual(channel(cloud, 'previous'), [undefined, undefined]);
  await t.throwsAsync(planRollback(cloud, BASE), { message: /nothing was latest before/ });
});

test('of several by one name the candidate is promoted, else one that is fit', async (t) => {
  for (const [first, second] of [
    [{ deprecated: daysAgo(1) }, {}],
    [{ proven: false }, {}],
    [{}, { channels: ['candidate'] }],
  ] satisfies Partial<CloudImage>[][]) {
    const cloud = new MemoryCloud('one');
    put(cloud, 'new', { ...first, imageId: 'first' });
    put(cloud, 'new', { ...second, imageId: 'second' });
    await carryOut(cloud, BASE, await planPromote(cloud, BASE, 'new'));
    t.deepEqual(
      cloud.images.filter(({ channels }) => channels.includes('latest')).map(({ imageId }) => imageId),
      ['second'],
    );
  }
});

test('another of the same name is no way back', async (t) => {
  const cloud = new MemoryCloud('one');
  put(cloud, 'old', { channels: ['previous'] });
  put(cloud, 'new', { channels: ['latest'], imageId: 'first' });
  put(cloud, 'new', { channels: ['candidate'], imageId: 'second' });
  await carryOut(cloud, BASE, await planPromote(cloud, BASE, undefined));
  t.deepEqual([channel(cloud, 'latest'), channel(cloud, 'previous')], [['new'], ['old']]);
});

test('what isn’t known to be a way back isn’t taken away by promoting again', async (t) => {
  const cloud = new MemoryCloud('one');
  put(cloud, 'new', { channels: ['candidate', 'latest'] });
  await carryOut(cloud, BASE, await planPromote(cloud, BASE, undefined));
  t.deepEqual(cloud.calls, ['one channel latest']);
});

test('what follows a channel is repeated, though the channel itself is right', async (t) => {
  const cloud = new MemoryCloud('one');
  put(cloud, 'old', { channels: ['previous'] });
  put(cloud, 'new', { channels: ['candidate', 'latest'] });
  const moves = await planPromote(cloud, BASE, undefined);
  t.deepEqual(changes(moves), []);
  await carryOut(cloud, BASE, moves);
  t.deepEqual(cloud.calls, ['one channel previous', 'one channel latest']);
  t.deepEqual([channel(cloud, 'latest'), channel(cloud, 'previous')], [['new'], ['old']]);
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
    const [first] = changes(await planPromote(cloud, BASE, undefined)).map(renderMove);
    t.true(['one: latest old → new', 'one: previous older → old'].includes(first as string), first);
    await carryOut(cloud, BASE, await planPromote(cloud, BASE, undefined));
    t.deepEqual(all(cloud), ['new candidate latest', 'old previous', 'older']);
    t.deepEqual(changes(await planPromote(cloud, BASE, undefined)), []);
  }
  const back = cut({ old: ['previous', 'latest'], new: ['latest'] });
  await carryOut(back, BASE, await planRollback(back, BASE));
  t.deepEqual(all(back), ['new', 'old latest', 'older']);

  // The promotion took no effect: what was previous before it still is.
  const remembering = cut({ old: ['latest', 'previous'], new: ['candidate'], older: ['previous'] });
  await carryOut(remembering, BASE, await planRollback(remembering, BASE));
  t.deepEqual(all(remembering), ['new candidate', 'old', 'older latest']);
  const unclear = cut({ old: ['latest', 'previous'], new: ['candidate', 'latest'], older: ['previous'] });
  await t.throwsAsync(planRollback(unclear, BASE), { message: /last promotion was cut short/ });
  unclear.images.reverse();
  await t.throwsAsync(planRollback(unclear, BASE), { message: /last promotion was cut short/ });
  const publishing = cut({ old: ['candidate'], new: ['candidate'] });
  await t.throwsAsync(planPromote(publishing, BASE, undefined), {
    message: /publication was cut short: one new and old/,
  });
});
