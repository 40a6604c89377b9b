import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { changedBlocks } from '../../src/clouds/blocks.ts';
import { readImage } from '../../src/manifest/image.ts';
import { BuildError } from '../../src/process/errors.ts';
import { Progress } from '../../src/process/progress.ts';
import { blocksFile, Journal, keepBlocks } from '../../src/publish/journal.ts';
import { lockFolders } from '../../src/publish/lock.ts';
import { parentOf, publish, publishedOf } from '../../src/publish/publish.ts';
import { Transfer } from '../../src/publish/transfer.ts';
import { MemoryCloud } from '../fakes/memory-cloud.ts';
import { makeImage } from './launch-fixture.ts';

const work = mkdtempSync(join(tmpdir(), 'clawdy-publish-'));
test.after.always(() => rmSync(work, { recursive: true, force: true }));
let number = 0;

/** Failures that are meant would look like failures among the results. */
class Quiet extends Progress {
  override say(): void {}
}

/** An image, a folder for journals, a cloud with two regions, and publishing one in the other. */
function setting(cloud = new MemoryCloud('one', 'two')) {
  const imageDir = makeImage(join(work, `image-${number}`));
  writeFileSync(join(imageDir, 'blocks.json'), '{"blockBytes":524288,"size":1,"blocks":{"0":"a","2":"b"}}');
  const image = readImage(imageDir);
  const dir = join(work, `journals-${number++}`);
  const inputs = { imageDir, image, cloud, dir };
  const journal = () => Journal.read(dir, image.id) as Journal;
  const states = () => journal().publications.map(({ region, state }) => `${region} ${state}`);
  return { cloud, image, imageDir, dir, inputs, journal, states, publish: () => publish(inputs, new Quiet()) };
}

/** The image as a cloud would list it. */
const published = (image: ReturnType<typeof readImage>) => ({
  ...{ region: 'one', imageId: 'found', snapshotId: 'snap', image: image.id, base: image.base.id, run: 'some-run' },
  ...{ digest: image.disk.rawSha256.slice(0, 32), created: image.created, proven: true, channels: [], usedBy: [] },
});

const passing = () => new BuildError('memory', 'a passing fault', 'again');

test.serial('published is: uploaded once, copied, booted everywhere, recorded, and the candidate', async (t) => {
  const { cloud, image, publish, states, journal } = setting();
  const result = await publish();
  t.is(result.cloud, 'memory');
  t.is(result.image, image.id);
  t.like(result.publications, [
    { region: 'one', image_id: `${image.id}-in-one`, bytes_sent: 10, bytes_total: 1 },
    { region: 'two', image_id: `${image.id}-in-two`, bytes_sent: 0 },
  ]);
  t.deepEqual(cloud.calls, [
    ...['one upload', 'one register', 'one boot', 'one prove', 'one channel candidate'],
    ...[`two copy ${image.id}-in-one`, 'two boot', 'two prove', 'two channel candidate'],
  ]);
  t.deepEqual(states(), ['one recorded', 'two recorded']);
  t.deepEqual(cloud.things, []);
  t.true(cloud.images.every(({ proven, channels }) => proven && channels.includes('candidate')));
  t.truthy(journal().find('memory', 'one')?.notes.snapshot);

  // Again: nothing is done.
  const calls = cloud.calls.length;
  t.like((await publish()).publications, [{ bytes_sent: 0, seconds: 0 }, { bytes_sent: 0 }]);
  t.is(cloud.calls.length, calls);
});

test.serial(
  'an image that stays closed, says it is another, or can’t be told from a forgery is taken back',
  async (t) => {
    const faults: [Partial<MemoryCloud>, RegExp][] = [
      [{ console: 'clawdy: closed: selfcheck static: 03-ssh-config\n' }, /stays closed: selfcheck static/],
      [{ console: 'clawdy: image another-image, instance i\nclawdy: live ok\n' }, /says it is another-image/],
      [{ forged: true }, /it is forged/],
      [{ shownHostKey: `ssh-ed25519 ${'B'.repeat(68)}` }, /somebody stands in between/],
    ];
    for (const [fault, message] of faults) {
      const { cloud, publish, states } = setting();
      Object.assign(cloud, fault);
      await t.throwsAsync(publish(), { message });
      t.deepEqual([cloud.images, cloud.things], [[], []]);
      t.deepEqual(states(), ['one failed']);
    }
  },
);

test.serial('what fails on the way in is taken back, and the next run begins anew', async (t) => {
  const { cloud, publish, states } = setting();
  cloud.failing.set('one upload', passing());
  await t.throwsAsync(publish(), { message: 'a passing fault' });
  t.deepEqual([cloud.images, cloud.things], [[], []]);
  t.deepEqual(states(), ['one failed']);
  cloud.failing.clear();
  await publish();
  t.deepEqual(states(), ['one failed', 'one recorded', 'two recorded']);
});

test.serial('a box whose live checks never pass, or that says nothing, is taken back when patience ends', async (t) => {
  const patience = { pollMs: 5, bundleMs: 100, liveMs: 100 };
  for (const [console, message] of [
    ['clawdy: image IMAGE, instance i\nclawdy: almost live ok\n', /its sealed bundle didn't come/],
    ['', /its sealed bundle didn't come/],
    ['clawdy: image IMAGE, instance i\nSEALED\n', /its live checks didn't come/],
  ] as const) {
    const { cloud, inputs, states } = setting();
    cloud.console = console;
    await t.throwsAsync(publish({ ...inputs, patience }, new Quiet()), { message });
    t.deepEqual([cloud.images, cloud.things], [[], []]);
    t.deepEqual(states(), ['one failed']);
  }
});

test.serial(
  'only its own are taken back and swept: not another run’s, nor what is proven, named or in use',
  async (t) => {
    const { cloud, publish, image } = setting(new MemoryCloud('one'));
    const other = { ...published(image), run: 'another-run' };
    cloud.images.push({ ...other, image: 'debian-13-20260101T000000Z-00000000', imageId: 'other', proven: false });
    cloud.things.push({ region: 'one', kind: 'instance', id: 'i-other', run: 'another-run' });
    cloud.console = 'clawdy: closed: x\n';
    await t.throwsAsync(publish(), { message: /stays closed/ });
    t.deepEqual([cloud.images.length, cloud.things.length], [1, 1]);

    // A journal from a backup says it was never checked; the cloud knows better, and nothing is booted again.
    for (const fact of [{ proven: true }, { channels: ['latest' as const] }, { usedBy: ['i-1'] }]) {
      const later = setting(new MemoryCloud('one'));
      later.cloud.console = 'clawdy: closed: x\n';
      const journal = Journal.open(later.dir, publishedOf(later.image));
      const entry = journal.begin('memory', 'one', 'a-run');
      journal.update(entry, { state: 'registered', image_id: 'ami', snapshot_id: 'snap' });
      later.cloud.images.push({ ...published(later.image), run: 'a-run', imageId: 'ami', proven: false, ...fact });
      await later.publish().catch(() => {});
      t.is(later.cloud.images.length, 1);
    }
  },
);

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
  const { cloud, publish, states } = setting(new MemoryCloud('one'));
  await publish();
  const calls = cloud.calls.length;
  for (const one of cloud.images) one.proven = false;
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

test.serial('what can’t be taken back keeps its place in the journal', async (t) => {
  const { cloud, publish, states } = setting();
  cloud.failing.set('one upload', passing());
  cloud.failing.set('one sweep', new BuildError('memory', 'unreachable', ''));
  await t.throwsAsync(publish(), { message: 'a passing fault' });
  t.deepEqual(states(), ['one started']);
  t.is(cloud.things.length, 1);
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

test.serial(
  'bytes go by digests of the disk itself, whatever blocks.json says; those are kept for the next',
  async (t) => {
    const { cloud, publish, dir, image } = setting(new MemoryCloud('one'));
    cloud.opensDisk = true;
    // The disk of this fixture isn't what its manifest says.
    await t.throwsAsync(publish(), { message: /disk.qcow2 is not the disk that was sealed/ });
    t.false(existsSync(blocksFile(dir, image.id)));
  },
);

test.serial('an upload builds on the newest publication of its base', async (t) => {
  const { publish, dir, image, imageDir } = setting(new MemoryCloud('one'));
  await publish();
  keepBlocks(dir, image.id, { size: 1, blocks: { 0: 'a', 2: 'b' } });
  const next = {
    ...publishedOf(image),
    id: 'debian-13-20261123T000000Z-00000000',
    created: '2026-11-23T00:00:00.000Z',
  };
  t.like(parentOf(dir, 'memory', { region: 'one', image: next }), { size: 1, blocks: { 0: 'a', 2: 'b' } });
  t.is(parentOf(dir, 'memory', { region: 'two', image: next }), undefined);
  t.is(parentOf(dir, 'memory', { region: 'one', image: { ...next, base: 'debian-12' } }), undefined);
  t.is(parentOf(dir, 'memory', { region: 'one', image: publishedOf(readImage(imageDir)) }), undefined);
});

test.serial('blocks: what isn’t zeros, or what differs from the parent, zeros included', (t) => {
  t.deepEqual(changedBlocks({ 0: 'a', 10: 'c', 9: 'b' }, undefined), [0, 9, 10]);
  t.deepEqual(changedBlocks({ 0: 'a', 10: 'c', 9: 'b' }, { 0: 'a', 9: 'x', 20: 'gone' }), [9, 10, 20]);
  t.deepEqual(changedBlocks({ 0: 'a' }, { 0: 'a' }), []);
});

test.serial('a journal that can’t be read, or is of another disk, is left as it is', async (t) => {
  const { publish, dir, image, cloud } = setting();
  await publish();
  const file = join(dir, `${image.id}.json`);
  const whole = readFileSync(file, 'utf8');
  const other = { ...publishedOf(image), rawSha256: '1'.repeat(64) };
  t.throws(() => Journal.open(dir, other), { message: /another disk with the same ID/ });
  for (const broken of ['{', whole.replace('"recorded"', '"done"'), whole.replace('"schema": 1', '"schema": 2')]) {
    writeFileSync(file, broken);
    const calls = cloud.calls.length;
    await t.throwsAsync(publish(), { message: /can't be read/ });
    t.is(cloud.calls.length, calls);
    t.is(readFileSync(file, 'utf8'), broken);
  }
  writeFileSync(file, whole.replace(/"image_id": "[^"]*"/, '"image_id": null'));
  await t.throwsAsync(publish(), { message: /has no IDs, which its state says there are/ });
  writeFileSync(join(dir, 'debian-13-20260101T000000Z-00000000.json'), whole);
  t.throws(() => Journal.all(dir), { message: /it is of image|has no IDs/ });
});

test.serial('where the journal can’t be written nothing is asked of the cloud', async (t) => {
  const { cloud, inputs } = setting();
  writeFileSync(join(work, 'a-file'), '');
  await t.throwsAsync(publish({ ...inputs, dir: join(work, 'a-file', 'journals') }, new Quiet()), {
    message: /can't be written: ENOTDIR/,
    instanceOf: BuildError,
  });
  t.throws(() => Journal.all(join(work, 'a-file')), { message: /folder .*a-file can't be read: ENOTDIR/ });
  t.deepEqual(cloud.calls, []);
});

test.serial('progress tells bytes, rate and time left', (t) => {
  let now = 0;
  const transfer = new Transfer(() => now);
  transfer.expect(100_000_000);
  t.is(String(transfer), '0 B of 100 MB');
  transfer.add(0);
  now = 2000;
  transfer.add(20_000_000);
  t.is(String(transfer), '20 MB of 100 MB, 10 MB/s, 8 s left');
  now = 200_000;
  t.is(String(transfer), '20 MB of 100 MB, 100 kB/s, 14 min left');
});

test.serial('one run at a time changes journals and store; a lock ends with who held it', async (t) => {
  const [journals, store, odd] = ['locks', 'store', 'odd'].map((name) => join(work, name)) as [string, string, string];
  mkdirSync(join(odd, '.lock'), { recursive: true });
  await t.throwsAsync(lockFolders([odd]), { message: /can't be written: EISDIR/, instanceOf: BuildError });
  const release = await lockFolders([journals, store, journals]);
  for (const dir of [journals, store]) await t.throwsAsync(lockFolders([dir]), { message: /another run is changing/ });
  // What was had before the one that is taken is given back.
  const free = join(work, 'free');
  await t.throwsAsync(lockFolders([free, store]), { message: /another run is changing/ });
  await (await lockFolders([free]))();
  await release();
  await (await lockFolders([journals, store]))();
});
