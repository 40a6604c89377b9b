/** The fake's own security groups and machines: what AWS refuses, it refuses. */
import {
  AuthorizeSecurityGroupIngressCommand,
  CreateSecurityGroupCommand,
  DeleteSecurityGroupCommand,
  DescribeSecurityGroupsCommand,
  EC2Client,
  type IpPermission,
  RevokeSecurityGroupIngressCommand,
  RunInstancesCommand,
  type RunInstancesCommandInput,
  StartInstancesCommand,
  StopInstancesCommand,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2';
import test from 'ava';
import { fakeAws } from './aws-fixture.ts';
import { published } from './aws-launch-fixture.ts';

const tcp = (CidrIp: string, FromPort = 443, ToPort = FromPort): IpPermission[] => [
  { IpProtocol: 'tcp', FromPort, ToPort, IpRanges: [{ CidrIp }] },
];

test.serial(
  'groups: names, rules and networks that AWS refuses are refused, networks are kept in one form',
  async (t) => {
    await fakeAws(t);
    const client = new EC2Client({});
    t.teardown(() => client.destroy());
    const create = (GroupName: string, Description = 'd') =>
      client.send(new CreateSecurityGroupCommand({ GroupName, Description }));
    const { GroupId } = await create('one');
    await t.throwsAsync(create('one'), { name: 'InvalidGroup.Duplicate' });
    await t.throwsAsync(create('sg-one'), { name: 'InvalidParameterValue' });
    await t.throwsAsync(create('two', 'a "quote"'), { name: 'InvalidParameterValue' });
    const authorize = (IpPermissions: IpPermission[], id = GroupId) =>
      client.send(new AuthorizeSecurityGroupIngressCommand({ GroupId: id, IpPermissions }));
    for (const wrong of [
      ...['192.0.2.0', '192.0.2.0/33', '192.0.2/24', '2001:db8::/32', 'everybody'].map((cidr) => tcp(cidr)),
      tcp('192.0.2.0/24', 70000),
      tcp('192.0.2.0/24', 2, 1),
      [{ IpProtocol: 'tcp', FromPort: 1, ToPort: 1, Ipv6Ranges: [{ CidrIpv6: '192.0.2.0/24' }] }],
    ])
      await t.throwsAsync(authorize(wrong), { name: 'InvalidParameterValue' }, JSON.stringify(wrong));
    await authorize(tcp('100.68.0.18/18'));
    await t.throwsAsync(authorize(tcp('100.68.0.0/18')), { name: 'InvalidPermission.Duplicate' });
    await t.throwsAsync(authorize([...tcp('192.0.2.0/24'), ...tcp('100.68.0.0/18')]), {
      name: 'InvalidPermission.Duplicate',
    });
    await authorize([
      { IpProtocol: 'tcp', FromPort: 443, ToPort: 443, Ipv6Ranges: [{ CidrIpv6: '2001:DB8:0:0::1/33' }] },
    ]);
    const describe = (GroupIds = [GroupId as string]) => client.send(new DescribeSecurityGroupsCommand({ GroupIds }));
    const { SecurityGroups } = await describe();
    t.like(SecurityGroups?.[0]?.IpPermissions, [
      { IpRanges: [{ CidrIp: '100.68.0.0/18' }], Ipv6Ranges: [{ CidrIpv6: '2001:db8::/33' }] },
    ]);
    const many = Array.from({ length: 60 }, (_, index) => tcp(`10.0.${index}.0/24`)).flat();
    await t.throwsAsync(authorize(many), { name: 'RulesPerSecurityGroupLimitExceeded' });
    const revoke = (IpPermissions: IpPermission[]) =>
      client.send(new RevokeSecurityGroupIngressCommand({ GroupId, IpPermissions }));
    t.is((await revoke(tcp('192.0.2.0/24'))).UnknownIpPermissions?.length, 1);
    t.is((await revoke(tcp('100.68.0.0/18'))).UnknownIpPermissions?.length ?? 0, 0);
    const nobody = 'sg-00000000000000000';
    await t.throwsAsync(describe([nobody]), { name: 'InvalidGroup.NotFound' });
    await t.throwsAsync(authorize(tcp('192.0.2.0/24'), nobody), { name: 'InvalidGroup.NotFound' });
    await t.throwsAsync(describe(['one']), { name: 'InvalidGroupId.Malformed' });
  },
);

test.serial('a group in use stays; machines are switched only from where they can be', async (t) => {
  await fakeAws(t);
  const { imageId } = await published(t);
  const client = new EC2Client({});
  t.teardown(() => client.destroy());
  const run = (more: Partial<RunInstancesCommandInput> = {}) =>
    client.send(
      new RunInstancesCommand({ ImageId: imageId, InstanceType: 't3.small', MinCount: 1, MaxCount: 1, ...more }),
    );
  await t.throwsAsync(run({ SecurityGroupIds: ['sg-00000000000000000'] }), { name: 'InvalidGroup.NotFound' });
  const long = Buffer.alloc(16 * 1024 + 1).toString('base64');
  await t.throwsAsync(run({ UserData: long }), { name: 'InvalidParameterValue' });
  const { GroupId = '' } = await client.send(new CreateSecurityGroupCommand({ GroupName: 'one', Description: 'd' }));
  const { Instances } = await run({ SecurityGroupIds: [GroupId] });
  t.is(Instances?.[0]?.SecurityGroups?.[0]?.GroupId, GroupId);
  const InstanceIds = [Instances?.[0]?.InstanceId as string];
  const drop = () => client.send(new DeleteSecurityGroupCommand({ GroupId }));
  await t.throwsAsync(drop(), { name: 'DependencyViolation' });
  await t.throwsAsync(client.send(new StopInstancesCommand({ InstanceIds })), { name: 'IncorrectInstanceState' });
  await client.send(new TerminateInstancesCommand({ InstanceIds }));
  await t.throwsAsync(drop(), { name: 'DependencyViolation' });
  await t.throwsAsync(client.send(new StartInstancesCommand({ InstanceIds })), { name: 'IncorrectInstanceState' });
});
