import { EC2Client, RunInstancesCommand } from '@aws-sdk/client-ec2';
import test from 'ava';
import { labelsOf } from '../../src/clouds/cloud.ts';
import { BuildError, EXIT } from '../../src/process/errors.ts';
import { BLOCK_BYTES } from '../../src/seal/digest.ts';
import { disk, fakeAws, probeInputs as inputs, jobOf, openCloud, publish, REGION } from './aws-fixture.ts';

const OTHER = 'us-east-1';

test.serial(
  'what is uploaded and registered is bit for bit the disk, sparse, labelled, and as AWS should run it',
  async (t) => {
    const fake = await fakeAws(t);
    const cloud = await openCloud(t);
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
    const image = fake.region(REGION).images.get(imageId);
    t.like(image?.attributes, {
      Architecture: 'x86_64',
      VirtualizationType: 'hvm',
      BootMode: 'uefi-preferred',
      EnaSupport: true,
      SriovNetSupport: 'simple',
      ImdsSupport: 'v2.0',
    });
    t.deepEqual(image?.rootDisk, { VolumeType: 'gp3', DeleteOnTermination: true });
    t.deepEqual(Object.fromEntries(image?.tags ?? []), labelsOf(job));
    t.deepEqual(Object.fromEntries(fake.region(REGION).snapshots.get(snapshotId)?.tags ?? []), labelsOf(job));
    // Again, as after an interruption: nothing is sent, nothing made.
    const again = await publish(cloud, jobOf(raw, { notes: { ...job.notes }, run: job.run }));
    t.deepEqual(again, { bytesSent: 0, imageId, snapshotId });
    t.is(fake.live().length, 2);
    cloud.close();
    await fake.close();
  },
);

test.serial('a zone that is out of a type gives another; out of all, a clear end without a machine', async (t) => {
  const fake = await fakeAws(t);
  const cloud = await openCloud(t);
  const raw = await disk();
  const job = jobOf(raw);
  const registered = await publish(cloud, job);
  fake.behaviour.noCapacity = new Set(['t3.small', 't3a.small']);
  const probe = await cloud.boot(job, registered, inputs());
  t.is(fake.region(REGION).instances.get(probe.instanceId)?.type, 't3.medium');
  await probe.remove();
  fake.behaviour.noCapacity = new Set(['t3.small', 't3a.small', 't3.medium', 'm5.large']);
  await t.throwsAsync(cloud.boot(job, registered, inputs()), { instanceOf: BuildError, message: /no capacity/ });
});

test.serial(
  'an image that fails is made anew, of the same upload; a snapshot that AWS keeps is deleted after its image',
  async (t) => {
    const fake = await fakeAws(t);
    const cloud = await openCloud(t);
    const raw = await disk();
    const job = jobOf(raw);
    await cloud.upload(job);
    fake.behaviour.failNextImage = true;
    await t.throwsAsync(cloud.register(job), { instanceOf: BuildError, message: /is failed: Internal failure/ });
    const { imageId } = await cloud.register(job);
    t.is(await fake.rawSha256(REGION, imageId, raw.size), raw.rawSha256);
    t.deepEqual(
      fake.live().map(({ kind }) => kind),
      ['image', 'snapshot'],
    );

    const copyJob = jobOf(raw, { region: OTHER, run: job.run });
    fake.behaviour.failNextImage = true;
    const from = { ...(await cloud.register(job)), region: REGION };
    await t.throwsAsync(cloud.copy(copyJob, from), { instanceOf: BuildError, message: /failed/ });
    const [orphan] = await cloud.orphans(OTHER);
    t.is(orphan?.kind, 'image');
    await cloud.copy(copyJob, from);
    t.deepEqual(await cloud.orphans(OTHER), []);
    t.deepEqual(
      fake
        .live()
        .filter(({ region }) => region === OTHER)
        .map(({ kind }) => kind),
      ['image', 'snapshot'],
    );

    fake.behaviour.keepSnapshots = 'missing-permissions';
    for (const region of [REGION, OTHER]) for (const image of await cloud.list(region)) await cloud.remove(image);
    t.deepEqual(fake.live(), []);
    cloud.close();
    await fake.close();
  },
);

test.serial('the snapshot of a copy has its labels from the first moment, before anybody knows its ID', async (t) => {
  const fake = await fakeAws(t);
  const cloud = await openCloud(t, { image: 200 });
  const raw = await disk();
  const home = await publish(cloud, jobOf(raw));
  const job = jobOf(raw, { region: OTHER });
  fake.behaviour.looks = 1_000_000;
  await t.throwsAsync(cloud.copy(job, { ...home, region: REGION }), { instanceOf: BuildError, message: /not done/ });
  const [snapshot] = fake.region(OTHER).snapshots.values();
  t.deepEqual(Object.fromEntries(snapshot?.tags ?? []), labelsOf(job));
  t.like((await cloud.list(OTHER))[0], { snapshotId: '' });
  t.deepEqual(await cloud.orphans(OTHER), [], 'a copy on its way is no orphan');
  fake.behaviour.looks = 1;
  t.is(snapshot?.id, (await cloud.copy(job, { ...home, region: REGION })).snapshotId);
});

test.serial('more images than one look-up of their use takes', async (t) => {
  const fake = await fakeAws(t);
  const cloud = await openCloud(t);
  const { imageId } = await publish(cloud, jobOf(await disk()));
  const { images, launchTemplates } = fake.region(REGION);
  const image = images.get(imageId) as NonNullable<ReturnType<typeof images.get>>;
  for (let at = 0; at < 10; at++) {
    const id = `ami-0000000000000000${at}`;
    images.set(id, { ...image, id, name: `${image.name}-${at}` });
  }
  launchTemplates.set('lt-1', ['ami-00000000000000009']);
  const listed = await cloud.list(REGION);
  t.is(listed.length, 11);
  t.deepEqual(
    listed.filter(({ usedBy }) => usedBy.length > 0).map(({ imageId }) => imageId),
    ['ami-00000000000000009'],
  );
  t.is(fake.calls.filter((name) => name === 'DescribeImageReferences').length, 2);
});

test.serial('lists of many pages are read whole', async (t) => {
  const fake = await fakeAws(t);
  const cloud = await openCloud(t);
  for (const name of ['one', 'two', 'three']) await publish(cloud, jobOf(await disk(), { image: `debian-13-${name}` }));
  const image = (await cloud.list(REGION))[0];
  for (const base of ['debian-12', 'debian-13', 'ubuntu-24.04']) await cloud.setChannel(REGION, base, 'latest', image);
  fake.behaviour.pageSize = 1;
  const images = await cloud.list(REGION);
  t.is(images.length, 3);
  t.is(images.find(({ imageId }) => imageId === image?.imageId)?.channels.length, 3);
  t.deepEqual(await cloud.orphans(REGION), []);
});

test.serial('without region or credentials, or with a wrong region, opening says what to do', async (t) => {
  await fakeAws(t);
  const region = process.env.AWS_REGION;
  const wrong = await t.throwsAsync(openCloud(t, {}, ['frankfurt']), { instanceOf: BuildError });
  t.is(wrong.exitCode, EXIT.input);
  delete process.env.AWS_REGION;
  delete process.env.AWS_DEFAULT_REGION;
  const missing = await t.throwsAsync(openCloud(t), { instanceOf: BuildError, message: 'no region is configured' });
  t.is(missing.exitCode, EXIT.input);
  process.env.AWS_REGION = region;
  delete process.env.AWS_ACCESS_KEY_ID;
  const keyless = await t.throwsAsync(openCloud(t), { instanceOf: BuildError, message: /looking for credentials/ });
  t.is(keyless.exitCode, EXIT.input);
});

test.serial('the price has a line for sending, trying and keeping in each region', async (t) => {
  await fakeAws(t);
  const cloud = await openCloud(t, {}, [REGION, OTHER]);
  const raw = await disk();
  const price = (sent: number, held: number) => cloud.price(jobOf(raw).image, { sent, held });
  const lines = await price(1000 * BLOCK_BYTES, 2 ** 30);
  t.is(lines.length, 6);
  t.like(lines[0], { amount: 0.006, currency: 'USD', per: 'once' });
  t.true(lines.every(({ amount }) => amount > 0));
  // Where it is there already, the copies and what is kept cost the same.
  t.deepEqual((await price(0, 2 ** 30)).slice(1), lines.slice(1));
});

test.serial(
  "a machine's metadata are as its image and its launch say; the fake refuses labels on what a launch doesn't make",
  async (t) => {
    const fake = await fakeAws(t);
    const client = new EC2Client({});
    t.teardown(() => client.destroy());
    const cloud = await openCloud(t);
    const { imageId } = await publish(cloud, jobOf(await disk()));
    const run = (more: object) =>
      client.send(
        new RunInstancesCommand({ ImageId: imageId, InstanceType: 't3.small', MinCount: 1, MaxCount: 1, ...more }),
      );
    await t.throwsAsync(run({ TagSpecifications: [{ ResourceType: 'image', Tags: [] }] }), {
      name: 'InvalidParameterValue',
    });
    await t.throwsAsync(run({ UserData: 'not base64!' }), { name: 'InvalidUserData.Malformed' });
    await t.throwsAsync(run({ MetadataOptions: { HttpTokens: 'always' } }), { name: 'InvalidParameterValue' });
    // Registered with ImdsSupport v2.0: tokens, but two hops, which is why the boot asks for one.
    const { Instances } = await run({});
    t.like(Instances?.[0]?.MetadataOptions, { HttpTokens: 'required', HttpPutResponseHopLimit: 2 });
    t.is(fake.live().filter(({ kind }) => kind === 'instance').length, 1);
  },
);

test.serial('where AWS has no look-up of what uses an image, every image counts as used', async (t) => {
  const fake = await fakeAws(t);
  const cloud = await openCloud(t);
  await publish(cloud, jobOf(await disk()));
  fake.fault = (name) =>
    name === 'DescribeImageReferences'
      ? { kind: 'error', status: 400, code: 'InvalidAction', message: 'The action is not valid for this web service.' }
      : undefined;
  t.is((await cloud.list(REGION))[0]?.usedBy.length, 1);
});
