import { createHash } from 'node:crypto';
import test from 'ava';
import { BLOCK_BYTES } from '../../src/seal/digest.ts';
import { disk, fakeAws, jobOf, openCloud, publish, REGION } from './aws-fixture.ts';

test.serial('what is uploaded and registered is bit for bit the disk, sparse, and labelled', async (t) => {
  const fake = await fakeAws();
  const cloud = await openCloud();
  const raw = await disk();
  const job = jobOf(raw);
  const { bytesSent, imageId, snapshotId } = await publish(cloud, job);
  t.is(bytesSent, 15 * BLOCK_BYTES);
  t.deepEqual(job.progress, { sent: bytesSent, expected: bytesSent });
  t.is(fake.calls.filter((name) => name === 'PutSnapshotBlock').length, 15);
  t.is(await fake.rawSha256(REGION, imageId, raw.size), raw.rawSha256);
  t.deepEqual(
    fake.live().map(({ kind, id }) => [kind, id]),
    [
      ['image', imageId],
      ['snapshot', snapshotId],
    ],
  );
  t.is(createHash('sha256').digest('hex').length, 64);
  cloud.close();
  await fake.close();
});
