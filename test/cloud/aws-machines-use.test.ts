/** Machines that stay, on AWS: whom they let in, switching them, and who sees what they were given. */
import { existsSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { inspect } from 'node:util';
import { AuthorizeSecurityGroupIngressCommand, EC2Client } from '@aws-sdk/client-ec2';
import test from 'ava';
import { BuildError, EXIT, renderError } from '../../src/process/errors.ts';
import type { FakeAws } from '../fakes/aws/index.ts';
import type { Hypervisor } from '../fakes/fake.ts';
import { echo, fakeAws, output, REGION } from './aws-fixture.ts';
import {
  group,
  instance,
  launchJob,
  left,
  letIn,
  opened,
  published,
  startOf,
  USER_DATA,
} from './aws-launch-fixture.ts';

test.serial(
  'it lets in just what is opened, IPv4 and IPv6, whatever let in before and in whatever form it is said',
  async (t) => {
    const fake = await fakeAws(t);
    const machines = await opened(t);
    const image = await published(t);
    const job = launchJob();
    const { instanceId } = await machines.start(job, startOf(image));
    const changes = () => fake.calls.filter((name) => name.endsWith('SecurityGroupIngress')).join();
    const openings = [
      { port: 443, sources: ['198.51.100.77/24', '2001:DB8:0:1:0::5/64', '198.51.100.0/24'] },
      { port: 20000, to: 59999, sources: ['0.0.0.0/0', '::/0'] },
    ];
    await machines.open(REGION, instanceId, openings);
    const rules = [
      'tcp 20000-59999 0.0.0.0/0',
      'tcp 20000-59999 ::/0',
      'tcp 443 198.51.100.0/24',
      'tcp 443 2001:db8:0:1::/64',
    ];
    t.deepEqual(letIn(fake, job.run), rules);
    const before = changes();
    await machines.open(REGION, instanceId, openings);
    t.is(changes(), before, 'nothing to change');

    // By hand, with another protocol.
    const client = new EC2Client({});
    t.teardown(() => client.destroy());
    const byHand = {
      IpProtocol: 'udp',
      FromPort: 53,
      ToPort: 53,
      IpRanges: [{ CidrIp: '0.0.0.0/0', Description: 'dns' }],
    };
    await client.send(
      new AuthorizeSecurityGroupIngressCommand({ GroupId: group(fake, job.run).id, IpPermissions: [byHand] }),
    );
    const from = fake.calls.length;
    await machines.open(REGION, instanceId, [{ port: 443, sources: ['198.51.100.0/24', '203.0.113.5/32'] }]);
    t.deepEqual(letIn(fake, job.run), ['tcp 443 198.51.100.0/24', 'tcp 443 203.0.113.5/32']);
    t.deepEqual(
      fake.calls.slice(from).filter((name) => name.endsWith('SecurityGroupIngress')),
      ['AuthorizeSecurityGroupIngress', 'RevokeSecurityGroupIngress'],
      'what is missing first',
    );

    // What AWS described was old.
    for (const [name, code] of [
      ['AuthorizeSecurityGroupIngress', 'InvalidPermission.Duplicate'],
      ['RevokeSecurityGroupIngress', 'InvalidPermission.NotFound'],
    ]) {
      let isFirst = true;
      fake.fault = (called) => {
        if (called !== name || !isFirst) return undefined;
        isFirst = false;
        return { kind: 'error', status: 400, code: code as string, message: 'so already' };
      };
      const port = letIn(fake, job.run)[0]?.includes('8443') ? 443 : 8443;
      await machines.open(REGION, instanceId, [{ port, sources: ['203.0.113.0/24'] }]);
      t.deepEqual(letIn(fake, job.run), [`tcp ${port} 203.0.113.0/24`]);
    }
    fake.fault = undefined;
    const wrong = machines.open(REGION, instanceId, [{ port: 443, sources: ['203.0.113.0/33'] }]);
    t.is((await t.throwsAsync(wrong, { instanceOf: BuildError, message: /no network/ })).exitCode, EXIT.input);
    await machines.open(REGION, instanceId, []);
    t.deepEqual(letIn(fake, job.run), []);
  },
);

test.serial('switched off it keeps its disk, switched on it has another address and is as old as it was', async (t) => {
  const fake = await fakeAws(t);
  const image = await published(t);
  const machines = await opened(t);
  const made = await machines.start(launchJob(), startOf(image));
  const { instanceId } = made;
  await setTimeout(20);
  const off = await machines.power(REGION, instanceId, false);
  t.like(off, { state: 'stopped', address: undefined, created: made.created });
  t.true(existsSync(instance(fake, instanceId).disk));
  t.deepEqual(await machines.power(REGION, instanceId, false), off);
  t.regex((await machines.console?.(REGION, instanceId)) ?? '', /^instance i-/);
  const on = await machines.power(REGION, instanceId, true);
  t.like(on, { state: 'running', created: made.created });
  t.truthy(on.address);
  t.not(on.address, made.address);
  t.true(instance(fake, instanceId).launched.toISOString() > made.created);
  t.deepEqual(await machines.power(REGION, instanceId, true), on);
  // Somebody switched it off a moment ago: it can't be started yet.
  instance(fake, instanceId).state = 'stopping';
  t.is((await machines.power(REGION, instanceId, true)).state, 'running');
  await machines.power(REGION, instanceId, false);
  fake.behaviour.noCapacity = new Set(['t3.small']);
  const full = machines.power(REGION, instanceId, true);
  t.regex((await t.throwsAsync(full, { instanceOf: BuildError })).hint, /zone has no such machine/);
});

test.serial('a network that gives no addresses, or no network, is told with what to do', async (t) => {
  const fake = await fakeAws(t);
  const image = await published(t);
  const machines = await opened(t, { fresh: 100 });
  fake.behaviour.givesAddresses = false;
  const job = launchJob();
  const alone = await t.throwsAsync(machines.start(job, startOf(image)), { instanceOf: BuildError });
  t.regex(alone.message, /no public address/);
  t.regex(alone.hint, /map-public-ip-on-launch/);
  await machines.sweep(REGION, job.run);
  fake.fault = (name) =>
    name === 'CreateSecurityGroup'
      ? { kind: 'error', status: 400, code: 'VPCIdNotSpecified', message: 'No default VPC for this user' }
      : undefined;
  const none = await t.throwsAsync(machines.start(job, startOf(image)), { instanceOf: BuildError });
  t.is(none.exitCode, EXIT.prerequisite);
  t.deepEqual(left(fake), []);
});

function assertSilent(t: { false(value: boolean): void }, { credentials }: FakeAws, ...said: unknown[]): void {
  const seen = [...output, ...said.map((one) => inspect(one, { depth: 9, showHidden: true }))].join('\n');
  for (const secret of ['one-time-token', Buffer.from(USER_DATA).toString('base64'), credentials.secretAccessKey])
    t.false(seen.includes(secret));
}

test.serial('user-data reaches the machine and nothing that anybody reads, whatever fails', async (t) => {
  const given: string[] = [];
  const boot: Hypervisor['boot'] = (machine) => {
    given.push(machine.userData);
    return echo.boot(machine);
  };
  const fake = await fakeAws(t, { boot });
  const image = await published(t);
  const machines = await opened(t);
  const job = launchJob();
  const { instanceId } = await machines.start(job, startOf(image));
  t.deepEqual(given, [USER_DATA]);
  assertSilent(t, fake, job, await machines.machine(REGION, instanceId));
  for (const [size, message] of [
    ['cx22', /cx22/],
    ['t3.small', /UnauthorizedOperation/],
  ] as const) {
    if (size === 't3.small') fake.behaviour.denied.add('ec2:RunInstances');
    const failed = launchJob();
    const error = await t.throwsAsync(machines.start(failed, startOf(image, { size })), { message });
    assertSilent(t, fake, failed, error, renderError(error));
  }
  let found = false;
  const probe = {
    false: (value: boolean) => {
      found ||= value;
    },
  };
  assertSilent(probe, fake, USER_DATA);
  t.true(found, 'the scan can fail');
});
