import { closeSync, openSync, writeSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import test from 'ava';
import type { Parent } from '../../src/clouds/cloud.ts';
import { BuildError } from '../../src/process/errors.ts';
import { BLOCK_BYTES } from '../../src/seal/digest.ts';
import {
  disk,
  fakeAws,
  jobOf,
  MIB,
  openCloud,
  publish,
  REGION,
  resumed,
  seeded,
  type TestDisk,
} from './aws-fixture.ts';

const parentOf = (snapshotId: string, { size, blocks }: TestDisk): Parent => ({ snapshotId, size, blocks });

test.serial('built on an earlier snapshot only what differs is sent, and zeros for what became zero', async (t) => {
  const fake = await fakeAws(t);
  const cloud = await openCloud(t);
  const first = await disk();
  const { snapshotId } = await publish(cloud, jobOf(first, { image: 'one' }));
  const next = await disk((write) => {
    write(8, seeded(800));
    write(77, seeded(77));
    write(34, Buffer.alloc(BLOCK_BYTES));
  });
  t.false(34 in next.blocks);
  fake.calls.length = 0;
  const job = jobOf(next, { image: 'two', parent: parentOf(snapshotId, first) });
  const made = await publish(cloud, job);
  t.is(made.bytesSent, 3 * BLOCK_BYTES);
  t.is(fake.calls.filter((name) => name === 'PutSnapshotBlock').length, 3);
  t.is(await fake.rawSha256(REGION, made.imageId, next.size), next.rawSha256);

  // Had the zeros not been sent, the parent's bytes would show through, and the digest says so.
  const blocks = fake.region(REGION).snapshots.get(made.snapshotId)?.blocks;
  const earlier = fake.region(REGION).snapshots.get(snapshotId)?.blocks.get(34);
  blocks?.set(34, earlier as NonNullable<typeof earlier>);
  t.not(await fake.rawSha256(REGION, made.imageId, next.size), next.rawSha256);

  // The same disk once more: nothing but the two calls that begin and complete.
  const same = await publish(cloud, jobOf(next, { image: 'three', parent: parentOf(made.snapshotId, next) }));
  t.is(same.bytesSent, 0);
});

test.serial(
  'a parent that is gone, larger or encrypted, or an account that encrypts everything, means a whole upload',
  async (t) => {
    const fake = await fakeAws(t);
    const cloud = await openCloud(t);
    const raw = await disk();
    const { snapshotId } = await publish(cloud, jobOf(raw, { image: 'one' }));
    const parent = parentOf(snapshotId, raw);
    const uploads: [string, Parent, () => void][] = [
      ['gone', { ...parent, snapshotId: 'snap-0123456789abcdef0' }, () => {}],
      ['larger', { ...parent, size: raw.size + 1 }, () => {}],
      ['encrypts', parent, () => Object.assign(fake.behaviour, { encryptsByDefault: true })],
      [
        'encrypted',
        parent,
        () => Object.assign(fake.region(REGION).snapshots.get(snapshotId) ?? {}, { encrypted: true }),
      ],
    ];
    for (const [what, from, prepare] of uploads) {
      prepare();
      const made = await publish(cloud, jobOf(raw, { image: what, parent: from }));
      fake.behaviour.encryptsByDefault = false;
      t.is(made.bytesSent, 15 * BLOCK_BYTES, what);
      t.is(await fake.rawSha256(REGION, made.imageId, raw.size), raw.rawSha256, what);
    }
    t.deepEqual(await cloud.orphans(REGION), []);
    cloud.close();
    await fake.close();
  },
);

test.serial('an upload that is interrupted goes on from what was acknowledged, in the same snapshot', async (t) => {
  const fake = await fakeAws(t);
  const cloud = await openCloud(t);
  // 100 blocks, so that the workers' 32 aren't all of them.
  const raw = await disk((write) => {
    for (let block = 10; block < 100; block++) write(block, seeded(block));
  });
  const total = Object.keys(raw.blocks).length;
  const job = jobOf(raw);
  let puts = 0;
  fake.fault = (name) =>
    name === 'PutSnapshotBlock' && ++puts > 60
      ? { kind: 'error', status: 403, code: 'AccessDeniedException', message: 'no' }
      : undefined;
  await t.throwsAsync(cloud.upload(job), { instanceOf: BuildError });
  fake.fault = undefined;
  t.true(Number(job.notes['upload.acknowledged']) > 0);
  const again = resumed(job, raw);
  const made = await publish(cloud, again);
  t.is(made.bytesSent, (total - Number(job.notes['upload.acknowledged'])) * BLOCK_BYTES);
  t.is(again.progress.expected, made.bytesSent);
  t.true(made.bytesSent < total * BLOCK_BYTES);
  t.is(fake.calls.filter((name) => name === 'StartSnapshot').length, 1);
  t.is(await fake.rawSha256(REGION, made.imageId, raw.size), raw.rawSha256);
  t.deepEqual(await cloud.orphans(REGION), []);
});

test.serial(
  'cut off after each call in turn, before the answer came: the next run ends with one image and nothing else',
  async (t) => {
    const fake = await fakeAws(t);
    const cloud = await openCloud(t, { retry: 300, fresh: 1000 });
    const raw = await disk();
    const names = [
      'StartSnapshot',
      'PutSnapshotBlock',
      'CompleteSnapshot',
      'DescribeSnapshots',
      'RegisterImage',
      'DescribeImages',
      'CreateTags',
    ];
    for (const cut of names) {
      const job = jobOf(raw, { image: `cut-after-${cut}` });
      let isDead = false;
      // The call takes effect; whoever made it, and all that it would ask afterwards, hears nothing more.
      fake.fault = (name) => {
        if (isDead) return { kind: 'error', status: 403, code: 'AccessDenied', message: 'dead' };
        if (name !== cut) return undefined;
        isDead = true;
        return { kind: 'reset', after: true };
      };
      await t.throwsAsync(publish(cloud, job), { instanceOf: BuildError }, cut);
      fake.fault = undefined;
      const made = await publish(cloud, resumed(job, raw));
      t.is(await fake.rawSha256(REGION, made.imageId, raw.size), raw.rawSha256, cut);
      t.deepEqual(await cloud.orphans(REGION), [], cut);
      t.is((await cloud.list(REGION)).filter(({ run }) => run === job.run).length, 1, cut);
    }
    t.is(fake.live().length, 2 * names.length);
    cloud.close();
    await fake.close();
  },
);

for (const [what, lose] of [
  ['failed', (snapshot: object) => void Object.assign(snapshot, { state: 'error' })],
  ['went', (_: unknown, id: string, all: Map<string, unknown>) => void all.delete(id)],
] as const)
  test.serial(`a snapshot that ${what} before its ID was noted isn't taken up again by its token`, async (t) => {
    const fake = await fakeAws(t);
    const cloud = await openCloud(t, { retry: 100, fresh: 100 });
    const raw = await disk();
    const job = jobOf(raw);
    fake.fault = (name) => {
      if (name === 'StartSnapshot') return { kind: 'reset', after: true };
      return undefined;
    };
    await t.throwsAsync(cloud.upload(job), { instanceOf: BuildError });
    t.is(job.notes['upload.snapshot'], '');
    fake.fault = undefined;
    fake.region(REGION).snapshots.forEach(lose);
    const made = await publish(cloud, resumed(job, raw));
    t.is(await fake.rawSha256(REGION, made.imageId, raw.size), raw.rawSha256);
    t.is(fake.live().length, 2);
  });

test.serial('the first block that fails for good ends the others, also those that would try again', async (t) => {
  const fake = await fakeAws(t);
  const cloud = await openCloud(t, { retry: 60_000, minPause: 50, maxPause: 100 });
  const raw = await disk();
  const job = jobOf(raw);
  let puts = 0;
  fake.fault = (name) => {
    if (name !== 'PutSnapshotBlock') return undefined;
    if (++puts === 12) return { kind: 'error', status: 403, code: 'AccessDeniedException', message: 'no' };
    return { kind: 'error', status: 400, code: 'RequestThrottledException', message: 'slow down' };
  };
  await t.throwsAsync(cloud.upload(job), { instanceOf: BuildError, message: /AccessDeniedException/ });
  const notes = JSON.stringify(job.notes);
  // What was on its way arrives; what waits would come within 100 ms.
  await setTimeout(30);
  const before = puts;
  await setTimeout(400);
  t.is(puts, before);
  t.is(JSON.stringify(job.notes), notes);
});

test.serial('answers that get lost in one run make nothing twice', async (t) => {
  const fake = await fakeAws(t);
  const cloud = await openCloud(t);
  const raw = await disk();
  const seen = new Set<string>();
  fake.fault = (name) => {
    if (seen.has(name)) return undefined;
    seen.add(name);
    return { kind: 'reset', after: true };
  };
  const { imageId } = await publish(cloud, jobOf(raw));
  t.is(await fake.rawSha256(REGION, imageId, raw.size), raw.rawSha256);
  t.is(fake.live().length, 2);
});

test.serial('a snapshot that failed is discarded, and a new one begun', async (t) => {
  const fake = await fakeAws(t);
  const cloud = await openCloud(t);
  const raw = await disk();
  const job = jobOf(raw);
  fake.onCall = (name) => {
    if (name === 'CompleteSnapshot')
      for (const snapshot of fake.region(REGION).snapshots.values()) snapshot.state = 'error';
  };
  await t.throwsAsync(cloud.upload(job), { instanceOf: BuildError, message: /snapshot snap-\w+ failed/ });
  fake.onCall = undefined;
  const made = await publish(cloud, resumed(job, raw));
  t.is(made.bytesSent, 15 * BLOCK_BYTES);
  t.is(await fake.rawSha256(REGION, made.imageId, raw.size), raw.rawSha256);
  t.is(fake.live().length, 2);
});

test.serial(
  'blocks that AWS lost are found out after all was answered well, and sent again by the next run',
  async (t) => {
    const fake = await fakeAws(t);
    const cloud = await openCloud(t);
    const raw = await disk();
    const job = jobOf(raw);
    fake.behaviour.completesBlindly = true;
    fake.onCall = (name) => {
      if (name === 'PutSnapshotBlock') for (const { put } of fake.region(REGION).snapshots.values()) put.delete(13);
    };
    await t.throwsAsync(cloud.upload(job), { instanceOf: BuildError, message: /failed: ChangedBlocksCount is 15/ });
    fake.onCall = undefined;
    const made = await publish(cloud, resumed(job, raw));
    t.is(made.bytesSent, 15 * BLOCK_BYTES);
    t.is(await fake.rawSha256(REGION, made.imageId, raw.size), raw.rawSha256);
    t.is(fake.live().length, 2);
  },
);

test.serial('bytes that differ from what was verified are never sent', async (t) => {
  await fakeAws(t);
  const cloud = await openCloud(t);
  for (const [block, why] of [
    [13, 'a block that has a digest'],
    [128, 'the tail'],
  ] as const) {
    const raw = await disk();
    const fd = openSync(raw.path, 'r+');
    writeSync(fd, 'changed', block * BLOCK_BYTES + 5);
    closeSync(fd);
    await t.throwsAsync(
      cloud.upload(jobOf(raw)),
      { instanceOf: BuildError, message: new RegExp(`block ${block} of .* isn't what was verified`) },
      why,
    );
  }
});

test.serial('memory stays flat: one buffer for each worker, however large the disk', async (t) => {
  await fakeAws(t);
  const cloud = await openCloud(t);
  const raw = await disk((write) => {
    for (let block = 0; block < 400; block++) write(block, seeded(block));
  }, 200 * MIB);
  const { arrayBuffers } = process.memoryUsage();
  let most = 0;
  const timer = setInterval(() => {
    most = Math.max(most, process.memoryUsage().arrayBuffers - arrayBuffers);
  }, 5);
  await cloud.upload(jobOf(raw));
  clearInterval(timer);
  // The fake lives in this process and holds each body once or twice too; the disk is 200 MiB.
  t.true(most < 140 * MIB, `${Math.round(most / MIB)} MiB`);
  t.log(`${Math.round(most / MIB)} MiB of buffers at most, the fake's included, for ${raw.size / MIB} MiB`);
});
