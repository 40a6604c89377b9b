import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { withLockedCloud } from '../../src/cli/clouds.ts';
import { changedBlocks } from '../../src/clouds/blocks.ts';
import type { Published, Volume } from '../../src/clouds/cloud.ts';
import { readImage } from '../../src/manifest/image.ts';
import { BuildError } from '../../src/process/errors.ts';
import { blocksFile, Journal, keepBlocks } from '../../src/publish/journal.ts';
import { lockFolders } from '../../src/publish/lock.ts';
import { planPublish } from '../../src/publish/plan.ts';
import { parentOf, publish, publishedOf } from '../../src/publish/publish.ts';
import { Transfer } from '../../src/publish/transfer.ts';
import { MemoryCloud } from '../fakes/memory-cloud.ts';
import { Quiet, setting, work } from './publish-fixture.ts';

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

  const [alias, bin] = [join(work, 'alias'), join(work, 'bin')];
  symlinkSync(journals, alias);
  await (await lockFolders([journals, alias]))();
  // A flock that can't do its work isn't somebody who has the lock.
  mkdirSync(bin);
  writeFileSync(join(bin, 'flock'), '#!/bin/sh\nexit 71\n', { mode: 0o755 });
  const path = process.env.PATH;
  process.env.PATH = `${bin}:${path}`;
  try {
    await t.throwsAsync(lockFolders([journals]), { message: /can't be locked \(flock ended with 71\)/ });
  } finally {
    process.env.PATH = path;
  }
});

test.serial('what changes a cloud has the lock of the journals, and of a store that others use too', async (t) => {
  const [journals, store] = [join(work, 'cloud-journals'), join(work, 'cloud-store')];
  process.env.CLAWDY_STORE = store;
  for (const dir of [journals, store]) {
    const release = await lockFolders([dir]);
    const work = withLockedCloud({ cloud: 'local', region: [] }, journals, async () => t.fail('it went ahead'));
    await t.throwsAsync(work, { message: /another run is changing/ });
    await release();
  }
  await withLockedCloud({ cloud: 'local', region: [] }, journals, async () => {
    for (const dir of [journals, store]) await t.throwsAsync(lockFolders([dir]), { message: /another run/ });
  });
  await (await lockFolders([journals, store]))();
  delete process.env.CLAWDY_STORE;
});

test.serial('a plan says what would be sent, and prices that and what is kept', async (t) => {
  const { inputs, cloud, publish, dir, image } = setting();
  const volumes: Volume[] = [];
  cloud.price = async (_image: Published, bytes: Volume) => {
    volumes.push(bytes);
    return [];
  };
  const block = 524_288;
  const sent = async () => (await planPublish(inputs)).regions.map(({ state, bytes }) => `${state} ${bytes}`);
  t.deepEqual(await sent(), [`new ${2 * block}`, 'new 0']);
  t.deepEqual(volumes.pop(), { sent: 2 * block, held: 2 * block });
  t.deepEqual([cloud.calls, existsSync(join(dir, `${image.id}.json`))], [[], false]);
  await publish();
  t.deepEqual(await sent(), ['recorded 0', 'recorded 0']);
  t.deepEqual(volumes.pop(), { sent: 0, held: 2 * block });
});
