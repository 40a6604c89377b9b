import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  AuthorizeSecurityGroupIngressCommand,
  CreateSecurityGroupCommand,
  DeleteTagsCommand,
  EC2Client,
  RunInstancesCommand,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2';
import test from 'ava';
import { TYPES } from '../../src/clouds/aws/instances.ts';
import { BuildError } from '../../src/process/errors.ts';
import type { Policy } from '../fakes/aws/policy.ts';
import { ROOT } from '../image.ts';
import { disk, fakeAws, jobOf, openCloud, probeInputs, publish, REGION } from './aws-fixture.ts';
import { group, launchJob, left, opened, published, startOf } from './aws-launch-fixture.ts';

const shipped = (name: string) => JSON.parse(readFileSync(join(ROOT, 'docs/clouds', name), 'utf8')) as Policy;
const policy = () => shipped('aws-launch-policy.json');

test.serial(
  'launching, from finding the image to the end, is allowed, and nothing that it does not need',
  async (t) => {
    const fake = await fakeAws(t);
    const { imageId } = await published(t);
    fake.behaviour.policy = policy();
    fake.actions.clear();
    const cloud = await openCloud(t);
    const image = (await cloud.list(REGION)).find((one) => one.imageId === imageId);
    if (!image) throw new Error('no image');
    const machines = await opened(t);
    const job = launchJob();
    const { instanceId } = await machines.start(job, startOf(image));
    await machines.console?.(REGION, instanceId);
    await machines.open(REGION, instanceId, [{ port: 443, sources: ['192.0.2.0/24'] }]);
    await machines.open(REGION, instanceId, []);
    await machines.keep(REGION, instanceId);
    await machines.power(REGION, instanceId, false);
    await machines.power(REGION, instanceId, true);
    await machines.destroy(REGION, instanceId);
    await machines.start(launchJob('swept'), startOf(image));
    await machines.sweep(REGION, 'swept');
    // What is gone has no label any more, by which a policy goes.
    await machines.destroy(REGION, 'i-00000000000000000');
    t.deepEqual(left(fake), []);
    const allowed = policy().Statement.flatMap(({ Action }) => Action);
    t.deepEqual([...new Set(allowed)].sort(), [...fake.actions].sort());
    const types = policy().Statement.flatMap(({ Condition }) => Condition?.StringEquals?.['ec2:InstanceType'] ?? []);
    t.deepEqual(types, [...TYPES]);
    const denied = machines.start(launchJob(), startOf(image, { size: 'm5.24xlarge' }));
    t.regex((await t.throwsAsync(denied, { instanceOf: BuildError })).hint, /aws-launch-policy\.json/);
  },
);

test.serial('it is of no use on what is not ours, nor behind a group of others, nor on a probe', async (t) => {
  const fake = await fakeAws(t);
  const image = await published(t);
  const cloud = await openCloud(t);
  const machines = await opened(t);
  const client = new EC2Client({});
  t.teardown(() => client.destroy());
  const job = jobOf(await disk(), { image: 'debian-13-other' });
  const probe = await cloud.boot(job, await publish(cloud, job), probeInputs());
  const foreign = { GroupName: 'theirs', Description: 'theirs' };
  const { GroupId = '' } = await client.send(new CreateSecurityGroupCommand(foreign));
  const launch = launchJob();
  const { instanceId } = await machines.start(launch, startOf(image));
  fake.behaviour.policy = policy();

  const Tags = [...(fake.region(REGION).instances.get(instanceId)?.tags ?? [])].map(([Key, Value]) => ({ Key, Value }));
  const run = (SecurityGroupIds: string[], tags = Tags) =>
    client.send(
      new RunInstancesCommand({
        ...{ ImageId: image.imageId, InstanceType: 't3.small', MinCount: 1, MaxCount: 1, SecurityGroupIds },
        TagSpecifications: [
          { ResourceType: 'instance', Tags: tags },
          { ResourceType: 'volume', Tags: tags },
        ],
      }),
    );
  const own = group(fake, launch.run).id;
  const open = (id: string) =>
    client.send(
      new AuthorizeSecurityGroupIngressCommand({
        GroupId: id,
        IpPermissions: [{ IpProtocol: 'tcp', FromPort: 22, ToPort: 22, IpRanges: [{ CidrIp: '0.0.0.0/0' }] }],
      }),
    );
  const unlabel = (Key: string) => client.send(new DeleteTagsCommand({ Resources: [own], Tags: [{ Key }] }));
  for (const [what, call] of Object.entries({
    'behind a foreign group': () => run([GroupId]),
    'without labels': () => run([own], []),
    'as a probe': () =>
      run(
        [own],
        Tags.filter(({ Key }) => Key !== 'clawdy-launched'),
      ),
    'opens a foreign group': () => open(GroupId),
    'makes a group without labels': () => client.send(new CreateSecurityGroupCommand({ ...foreign, GroupName: 'x' })),
    'ends a probe': () => client.send(new TerminateInstancesCommand({ InstanceIds: [probe.instanceId] })),
    'takes the owner away': () => unlabel('clawdy-owner'),
  }))
    await t.throwsAsync(call(), { name: 'UnauthorizedOperation' }, what);
  await run([own]);
  await open(own);
  await unlabel('clawdy-temporary');

  // Nor does whoever publishes end what was launched.
  fake.behaviour.policy = shipped('aws-policy.json');
  const end = (id: string) => client.send(new TerminateInstancesCommand({ InstanceIds: [id] }));
  await t.throwsAsync(end(instanceId), { name: 'UnauthorizedOperation' });
  await end(probe.instanceId);
});

test.serial('doctor says what of launching is allowed, which nobody needs who only publishes', async (t) => {
  const fake = await fakeAws(t);
  await published(t);
  const cloud = await openCloud(t);
  const launching = async () => (await cloud.doctor()).find(({ name }) => name === `aws ${REGION}: launching`);
  t.like(await launching(), {
    ok: true,
    found: 'security groups can be made, by dry run; the rest can be tried on a machine alone',
  });
  t.deepEqual(left(fake), []);
  fake.behaviour.policy = shipped('aws-policy.json');
  const without = await launching();
  t.true(without?.ok);
  t.regex(without?.found ?? '', /not allowed: ec2:DescribeSecurityGroups, ec2:CreateSecurityGroup; only launching/);
  fake.fault = (name) =>
    name === 'CreateSecurityGroup'
      ? { kind: 'error', status: 400, code: 'VPCIdNotSpecified', message: 'No default VPC for this user' }
      : undefined;
  t.regex((await launching())?.fix ?? '', /default VPC/);
});
