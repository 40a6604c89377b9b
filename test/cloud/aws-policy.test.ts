import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CreateTagsCommand, EC2Client, RunInstancesCommand } from '@aws-sdk/client-ec2';
import test from 'ava';
import { TYPES } from '../../src/clouds/aws/instances.ts';
import { type Channel, type CloudImage, LABELS, labelsOf } from '../../src/clouds/cloud.ts';
import { BuildError } from '../../src/process/errors.ts';
import type { Policy, Statement } from '../fakes/aws/policy.ts';
import { ROOT } from '../image.ts';
import { disk, fakeAws, probeInputs as inputs, jobOf, openCloud, publish, REGION, seeded } from './aws-fixture.ts';

const OTHER = 'us-east-1';
/** The shipped policy, with changes to its statements. */
const policy = (change: (statement: Statement) => Statement | undefined = (statement) => statement): Policy => {
  const shipped = JSON.parse(readFileSync(join(ROOT, 'docs/clouds/aws-policy.json'), 'utf8')) as Policy;
  return { ...shipped, Statement: shipped.Statement.flatMap((statement) => change(statement) ?? []) };
};

// What the shipped policy allows is what is asked, judged by the fake as IAM would.

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
