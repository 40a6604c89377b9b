import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CreateTagsCommand, EC2Client, RunInstancesCommand } from '@aws-sdk/client-ec2';
import test from 'ava';
import { TYPES } from '../../src/clouds/aws/probe.ts';
import { type Channel, type CloudImage, LABELS, labelsOf } from '../../src/clouds/cloud.ts';
import { BuildError, EXIT } from '../../src/process/errors.ts';
import { BLOCK_BYTES } from '../../src/seal/digest.ts';
import type { Policy, Statement } from '../fakes/aws/policy.ts';
import { ROOT } from '../image.ts';
import { disk, fakeAws, folder, jobOf, openCloud, publish, REGION, seeded } from './aws-fixture.ts';

const OTHER = 'us-east-1';
/** The shipped policy, with changes to its statements. */
const policy = (change: (statement: Statement) => Statement | undefined = (statement) => statement): Policy => {
  const shipped = JSON.parse(readFileSync(join(ROOT, 'docs/clouds/aws-policy.json'), 'utf8')) as Policy;
  return { ...shipped, Statement: shipped.Statement.flatMap((statement) => change(statement) ?? []) };
};
const inputs = () => ({
  userData: '#cloud-config\nsecret: one-time-token-of-the-probe\n',
  sshKey: '/dev/null',
  work: folder(),
});

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

test.serial(
  'the whole use: copy, boot, prove, channels, what uses it, deprecate, remove, orphans; the policy allows exactly that',
  async (t) => {
    const fake = await fakeAws(t);
    fake.behaviour.policy = policy();
    const cloud = await openCloud(t, {}, [REGION, OTHER]);
    t.deepEqual(cloud.regions, [REGION, OTHER]);
    const raw = await disk();
    const job = jobOf(raw);
    const home = await publish(cloud, job);

    const copyJob = jobOf(raw, { region: OTHER, run: job.run });
    const copied = await cloud.copy(copyJob, { ...home, region: REGION });
    t.deepEqual(await cloud.copy(copyJob, { ...home, region: REGION }), copied, 'the same one when asked again');
    t.is(await fake.rawSha256(OTHER, copied.imageId, raw.size), raw.rawSha256);
    t.deepEqual(Object.fromEntries(fake.region(OTHER).snapshots.get(copied.snapshotId)?.tags ?? []), labelsOf(job));

    const given = inputs();
    const probe = await cloud.boot(job, home, given);
    const box = fake.region(REGION).instances.get(probe.instanceId);
    t.like(box?.metadata, { HttpTokens: 'required', HttpPutResponseHopLimit: 1 });
    t.is(box?.tags.get(LABELS.temporary), 'yes');
    t.like(Object.fromEntries(box?.volumeTags ?? []), { ...labelsOf(job), [LABELS.temporary]: 'yes' });
    t.is(box?.onShutdown, 'terminate');
    const head = seeded(0).subarray(0, 16).toString('hex');
    t.is(await probe.transcript(), `instance ${probe.instanceId}, disk ${head}\n`);
    t.false(JSON.stringify(job.notes).includes('one-time-token'));
    t.deepEqual((await cloud.list(REGION))[0]?.usedBy, [], 'a machine of ours that only looks is no use of the image');
    t.deepEqual(
      (await cloud.orphans(REGION)).map(({ kind, id, run }) => ({ kind, id, run })),
      [{ kind: 'instance', id: probe.instanceId, run: job.run }],
    );
    // An interrupted run's machine goes before another one is booted.
    const second = await cloud.boot(job, home, { ...given, userData: 'another' });
    t.deepEqual(
      fake
        .live()
        .filter(({ kind }) => kind === 'instance')
        .map(({ id }) => id),
      [second.instanceId],
    );
    await second.remove();
    await second.remove();
    t.false(fake.live().some(({ kind }) => kind === 'instance'));
    await t.throwsAsync(
      async () => {
        await second.transcript();
        await second.transcript();
      },
      {
        instanceOf: BuildError,
        message: /terminated/,
      },
    );

    t.like((await cloud.list(REGION))[0], { proven: false, channels: [], usedBy: [] });
    await cloud.prove(REGION, home);
    const [image] = (await cloud.list(REGION)) as [CloudImage];
    t.like(image, {
      imageId: home.imageId,
      snapshotId: home.snapshotId,
      image: job.image.id,
      base: 'debian-13',
      run: job.run,
      proven: true,
    });
    t.is(image.digest, raw.rawSha256.slice(0, 32));
    t.is(image.deprecated, undefined);

    for (const channel of ['candidate', 'latest'] satisfies Channel[])
      await cloud.setChannel(REGION, 'debian-13', channel, image);
    t.is(fake.region(REGION).parameters.get('/clawdy/debian-13/latest')?.value, home.imageId);
    t.is(fake.region(REGION).images.get(home.imageId)?.tags.get('clawdy-channel-latest'), 'yes');
    t.like((await cloud.list(REGION))[0], { channels: ['candidate', 'latest'], usedBy: [] });

    fake.region(REGION).launchTemplates.set('lt-1', [...new Array<string>(20).fill('ami-other'), home.imageId]);
    t.deepEqual((await cloud.list(REGION))[0]?.usedBy, [`arn:aws:ec2:${REGION}:123456789012:launch-template/lt-1`]);
    fake.region(REGION).launchTemplates.clear();

    // The next image takes the channel over: the parameter never is without an image, the tag moves.
    const next = await disk((write) => write(5, seeded(500)));
    const nextJob = jobOf(next, { image: 'debian-13-next' });
    const after = await publish(cloud, nextJob);
    const images = await cloud.list(REGION);
    await cloud.setChannel(
      REGION,
      'debian-13',
      'latest',
      images.find(({ imageId }) => imageId === after.imageId),
    );
    await cloud.setChannel(REGION, 'debian-13', 'candidate', undefined);
    await cloud.setChannel(REGION, 'debian-13', 'candidate', undefined);
    t.deepEqual(
      (await cloud.list(REGION)).map(({ imageId, channels }) => [imageId, channels]),
      [
        [home.imageId, []],
        [after.imageId, ['latest']],
      ],
    );
    t.false(fake.region(REGION).images.get(home.imageId)?.tags.has('clawdy-channel-latest'));
    t.deepEqual([...fake.region(REGION).parameters.keys()], ['/clawdy/debian-13/latest']);

    const made = fake.region(REGION).images.get(home.imageId);
    Object.assign(made ?? {}, { deprecated: new Date(Date.now() + 2 * 365 * 86_400_000) });
    t.is((await cloud.list(REGION)).find(({ imageId }) => imageId === home.imageId)?.deprecated, undefined);
    await cloud.deprecate(image);
    t.truthy((await cloud.list(REGION)).find(({ imageId }) => imageId === home.imageId)?.deprecated);
    const [copyAsListed] = (await cloud.list(OTHER)) as [CloudImage];
    for (const one of [image, image, copyAsListed]) await cloud.remove(one);
    t.deepEqual(
      fake.live().map(({ kind }) => kind),
      ['image', 'snapshot', 'parameter'],
    );

    // A snapshot that became no image.
    const left = jobOf(await disk());
    await cloud.upload(left);
    const found = await cloud.orphans(REGION);
    t.deepEqual(
      found.map(({ kind, run }) => [kind, run]),
      [['snapshot', left.run]],
    );
    for (const orphan of [...found, ...found]) await cloud.removeOrphan(orphan);
    t.deepEqual(await cloud.orphans(REGION), []);

    const checks = await cloud.doctor();
    t.deepEqual(
      checks.filter(({ ok }) => !ok),
      [],
    );
    t.regex(
      JSON.stringify(checks),
      /12 actions of EC2 are allowed, by dry run; nothing to try on: ec2:GetConsoleOutput, ec2:TerminateInstances"/,
    );

    const allowed = policy().Statement.flatMap(({ Action }) => Action);
    t.deepEqual([...new Set(allowed)].sort(), [...fake.actions].sort());
    cloud.close();
    await fake.close();
  },
);

const sabotaged: Record<string, [change: (statement: Statement) => Statement | undefined, refused: RegExp]> = {
  'the right to label a begun snapshot only with ec2:CreateAction': [
    (statement) => {
      if (statement.Sid === 'LabelSnapshotsThatBegin') return undefined;
      if (statement.Sid !== 'LabelWhatIsBeingMade') return statement;
      const { StringEquals } = statement.Condition as { StringEquals: Record<string, string[]> };
      const actions = [...(StringEquals['ec2:CreateAction'] ?? []), 'StartSnapshot'];
      return { ...statement, Condition: { StringEquals: { ...StringEquals, 'ec2:CreateAction': actions } } };
    },
    /ec2:CreateTags on resource: arn:aws:ec2:eu-central-1::snapshot\/\*/,
  ],
  "an image's own snapshot by the label that the request gives": [
    (statement) =>
      statement.Sid === 'OfOurSnapshots'
        ? { ...statement, Condition: { StringEquals: { 'aws:RequestTag/clawdy-owner': 'clawdy-image' } } }
        : statement,
    /ec2:RegisterImage on resource: arn:aws:ec2:eu-central-1::snapshot\/snap-/,
  ],
  'no ssm:GetParameters for the look-up of what uses an image': [
    (statement) => ({ ...statement, Action: [statement.Action].flat().filter((name) => name !== 'ssm:GetParameters') }),
    /ssm:GetParameters on resource: \*/,
  ],
};

for (const [what, [change, refused]] of Object.entries(sabotaged))
  test.serial(`a policy with a mistake is refused by the fake: ${what}`, async (t) => {
    const fake = await fakeAws(t);
    const cloud = await openCloud(t);
    const use = async () => {
      await publish(cloud, jobOf(await disk(), { image: `debian-13-${fake.calls.length}` }));
      await cloud.list(REGION);
    };
    fake.behaviour.policy = policy();
    await t.notThrowsAsync(use());
    fake.behaviour.policy = policy(change);
    await t.throwsAsync(use(), { instanceOf: BuildError, message: refused });
  });

test.serial("the policy lets nobody label other people's snapshots, nor start other machines than ours", async (t) => {
  const fake = await fakeAws(t);
  const cloud = await openCloud(t);
  const { imageId, snapshotId } = await publish(cloud, jobOf(await disk()));
  const client = new EC2Client({});
  t.teardown(() => client.destroy());
  fake.behaviour.policy = policy();
  const Tags = [{ Key: LABELS.owner, Value: 'clawdy-image' }];
  const label = () => client.send(new CreateTagsCommand({ Resources: [snapshotId], Tags }));
  await label();
  fake.region(REGION).snapshots.get(snapshotId)?.tags.clear();
  await t.throwsAsync(label(), { name: 'UnauthorizedOperation' });
  const temporary = [...Tags, { Key: LABELS.temporary, Value: 'yes' }];
  const run = (InstanceType: 't3.small' | 't3.large') =>
    client.send(
      new RunInstancesCommand({
        ImageId: imageId,
        InstanceType,
        MinCount: 1,
        MaxCount: 1,
        TagSpecifications: [
          { ResourceType: 'instance', Tags: temporary },
          { ResourceType: 'volume', Tags: temporary },
        ],
      }),
    );
  await t.throwsAsync(run('t3.large'), { name: 'UnauthorizedOperation' });
  await t.notThrowsAsync(run('t3.small'));
  const types = policy().Statement.flatMap(({ Condition }) => Condition?.StringEquals?.['ec2:InstanceType'] ?? []);
  t.deepEqual(types, [...TYPES]);
});

test.serial('doctor names each action that the role lacks, and changes nothing', async (t) => {
  const fake = await fakeAws(t);
  const cloud = await openCloud(t);
  const denied = ['ec2:RegisterImage', 'ec2:CopyImage', 'ssm:GetParametersByPath'];
  fake.behaviour.denied = new Set(denied);
  t.regex(JSON.stringify(await cloud.doctor()), /nothing to try on: ec2:RegisterImage, ec2:CopyImage/);
  fake.behaviour.denied = new Set();
  await publish(cloud, jobOf(await disk()));
  const before = fake.live();
  fake.behaviour.denied = new Set(denied);
  const checks = await cloud.doctor();
  const failed = checks.filter(({ ok }) => !ok);
  t.deepEqual(
    failed.map(({ name }) => name),
    [`aws ${REGION}: permissions`, `aws ${REGION}: channels`],
  );
  t.regex(failed[0]?.found ?? '', /not allowed: ec2:RegisterImage, ec2:CopyImage/);
  t.regex(failed[0]?.fix ?? '', /aws-policy\.json/);
  t.deepEqual(fake.live(), before);
  fake.behaviour.denied = new Set(['ec2:DescribeImages']);
  t.like((await cloud.doctor())[1], { ok: false, name: `aws ${REGION}` });
});

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
  const lines = await cloud.price(jobOf(raw).image, 1000 * BLOCK_BYTES);
  t.is(lines.length, 6);
  t.like(lines[0], { amount: 0.006, currency: 'USD', per: 'once' });
  t.true(lines.every(({ amount }) => amount > 0));
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
