/** The fake itself: what it refuses, by AWS' model, and what an independent client (Debian's CLI, botocore) makes of it. */
import { createHash } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CompleteSnapshotCommand, EBSClient, PutSnapshotBlockCommand, StartSnapshotCommand } from '@aws-sdk/client-ebs';
import { CreateTagsCommand, DescribeSnapshotsCommand, EC2Client, RegisterImageCommand } from '@aws-sdk/client-ec2';
import { PutParameterCommand, SSMClient } from '@aws-sdk/client-ssm';
import test from 'ava';
import { execa } from 'execa';
import { BLOCK_BYTES } from '../../src/seal/digest.ts';
import type { FakeAws } from '../fakes/aws/index.ts';
import { enumOf, judge, ModelError, operationOf } from '../fakes/aws/model.ts';
import { fromJson, fromQuery } from '../fakes/aws/wire.ts';
import { disk, fakeAws, folder, jobOf, openCloud, publish, REGION, seeded } from './aws-fixture.ts';

const query = (name: string, fields: Record<string, string>) => {
  const operation = operationOf('ec2', name);
  if (!operation) throw new Error(`no ${name}`);
  const input = fromQuery(operation, new URLSearchParams({ Action: name, Version: '2016-11-15', ...fields }));
  judge('ec2', operation.input, input);
  return input;
};

const GOOD = {
  Name: 'n',
  Architecture: 'x86_64',
  BootMode: 'uefi-preferred',
  EnaSupport: 'true',
  'BlockDeviceMapping.1.DeviceName': '/dev/sda1',
  'BlockDeviceMapping.1.Ebs.SnapshotId': 'snap-1',
  'BlockDeviceMapping.1.Ebs.VolumeSize': '8',
  'TagSpecification.1.ResourceType': 'image',
  'TagSpecification.1.Tag.1.Key': 'k',
  'TagSpecification.1.Tag.1.Value': 'v',
};

test.serial('a call of EC2 is decoded by the model, and what the model has not is refused', (t) => {
  t.deepEqual(query('RegisterImage', GOOD), {
    Name: 'n',
    Architecture: 'x86_64',
    BootMode: 'uefi-preferred',
    EnaSupport: true,
    BlockDeviceMappings: [{ DeviceName: '/dev/sda1', Ebs: { SnapshotId: 'snap-1', VolumeSize: 8 } }],
    TagSpecifications: [{ ResourceType: 'image', Tags: [{ Key: 'k', Value: 'v' }] }],
  });
  const refused: [Record<string, string>, ModelError['problem']][] = [
    [{ Nmae: 'n' }, 'unknown'],
    [{ 'BlockDeviceMapping.1.Ebs.SnapshotID': 'snap-1' }, 'unknown'],
    [{ 'Description.1': 'n' }, 'unknown'],
    [{ BlockDeviceMapping: 'x' }, 'type'],
    [{ 'BlockDeviceMapping.3.DeviceName': 'x' }, 'type'],
    [{ EnaSupport: 'yes' }, 'type'],
    [{ 'BlockDeviceMapping.1.Ebs.VolumeSize': '8G' }, 'type'],
    [{ Architecture: 'amd64' }, 'enum'],
    [{ BootMode: 'efi' }, 'enum'],
    [{ ImdsSupport: '2' }, 'enum'],
    [{ 'BlockDeviceMapping.1.Ebs.VolumeType': 'gp4' }, 'enum'],
    [{ 'TagSpecification.1.ResourceType': 'ami' }, 'enum'],
  ];
  for (const [change, problem] of refused)
    t.like(
      t.throws(() => query('RegisterImage', { ...GOOD, ...change }), { instanceOf: ModelError }),
      { problem },
      JSON.stringify(change),
    );
  const { Name: _, ...nameless } = GOOD;
  t.like(
    t.throws(() => query('RegisterImage', nameless), { instanceOf: ModelError }),
    { problem: 'missing', member: 'Name' },
  );
  t.like(
    t.throws(() => query('EnableImageDeprecation', { ImageId: 'ami-1', DeprecateAt: 'tomorrow' }), {
      instanceOf: ModelError,
    }),
    { problem: 'type' },
  );
  t.is(operationOf('ec2', 'RegisterImages'), undefined);
});

test.serial('the same for JSON; enumerations come from the declarations', (t) => {
  const operation = operationOf('ssm', 'PutParameter');
  const decode = (value: unknown) => {
    const input = fromJson((operation as NonNullable<typeof operation>).input, value, '');
    judge('ssm', (operation as NonNullable<typeof operation>).input, input);
    return input;
  };
  t.deepEqual(decode({ Name: '/a', Value: 'b', Overwrite: true }), { Name: '/a', Value: 'b', Overwrite: true });
  for (const [value, problem] of [
    [{ Name: '/a', Value: 'b', Overwrites: true }, 'unknown'],
    [{ Name: '/a' }, 'missing'],
    [{ Name: '/a', Value: 'b', Overwrite: 'true' }, 'type'],
    [{ Name: '/a', Value: 7 }, 'type'],
    [{ Name: '/a', Value: 'b', Tags: {} }, 'type'],
    [{ Name: '/a', Value: 'b', Tier: 'standard' }, 'enum'],
  ] as const)
    t.like(
      t.throws(() => decode(value), { instanceOf: ModelError }),
      { problem },
      JSON.stringify(value),
    );
  t.deepEqual(enumOf('ec2', 'RegisterImageRequest', 'BootMode'), ['legacy-bios', 'uefi', 'uefi-preferred']);
  t.true(enumOf('ec2', 'RunInstancesRequest', 'InstanceType')?.includes('t3.small'));
  t.is(enumOf('ec2', 'RegisterImageRequest', 'Name'), undefined);
});

test.serial(
  "EBS: wrong bytes, lengths, checksums, counts, tokens and states are refused, in the API's own codes",
  async (t) => {
    const fake = await fakeAws(t);
    const client = new EBSClient({});
    const { SnapshotId } = await client.send(new StartSnapshotCommand({ VolumeSize: 1, ClientToken: 'one' }));
    t.is((await client.send(new StartSnapshotCommand({ VolumeSize: 1, ClientToken: 'one' }))).SnapshotId, SnapshotId);
    await t.throwsAsync(client.send(new StartSnapshotCommand({ VolumeSize: 2, ClientToken: 'one' })), {
      name: 'ConflictException',
    });
    await t.throwsAsync(client.send(new StartSnapshotCommand({ VolumeSize: 0 })), { name: 'ValidationException' });
    await t.throwsAsync(client.send(new StartSnapshotCommand({ VolumeSize: 1, Timeout: 5 })), {
      name: 'ValidationException',
    });
    const block = seeded(1);
    const good = {
      SnapshotId,
      BlockIndex: 3,
      BlockData: block,
      DataLength: BLOCK_BYTES,
      Checksum: createHash('sha256').update(block).digest('base64'),
      ChecksumAlgorithm: 'SHA256' as const,
    };
    const put = (change: object) => client.send(new PutSnapshotBlockCommand({ ...good, ...change }));
    for (const change of [
      { DataLength: 1000 },
      { BlockData: block.subarray(1) },
      { BlockIndex: 2048 },
      { ChecksumAlgorithm: 'MD5' },
    ])
      await t.throwsAsync(put(change), { name: 'ValidationException' }, JSON.stringify(Object.keys(change)));
    await t.throwsAsync(put({ Checksum: createHash('sha256').update('other').digest('base64') }), {
      name: 'InvalidSignatureException',
    });
    await t.throwsAsync(put({ SnapshotId: 'snap-0' }), { name: 'ResourceNotFoundException' });
    await put({});
    const linear = createHash('sha256').update(createHash('sha256').update(block).digest()).digest('base64');
    const complete = (change: object) =>
      client.send(
        new CompleteSnapshotCommand({
          SnapshotId,
          ChangedBlocksCount: 1,
          Checksum: linear,
          ChecksumAlgorithm: 'SHA256',
          ChecksumAggregationMethod: 'LINEAR',
          ...change,
        }),
      );
    await t.throwsAsync(complete({ ChangedBlocksCount: 2 }), { name: 'ValidationException' });
    await t.throwsAsync(complete({ Checksum: good.Checksum }), { name: 'ValidationException' });
    await t.throwsAsync(complete({ ChecksumAggregationMethod: undefined }), { name: 'ValidationException' });
    const early = new EC2Client({});
    const register = () =>
      early.send(
        new RegisterImageCommand({
          Name: 'too early',
          RootDeviceName: '/dev/sda1',
          BlockDeviceMappings: [{ DeviceName: '/dev/sda1', Ebs: { SnapshotId } }],
        }),
      );
    await t.throwsAsync(register(), { name: 'IncorrectState' });
    await complete({});
    await t.throwsAsync(put({ BlockIndex: 4 }), { name: 'ValidationException' });
    await t.throwsAsync(complete({}), { name: 'ValidationException' });
    for (let look = 0; look < 3; look++) await early.send(new DescribeSnapshotsCommand({}));
    await register();
    await t.throwsAsync(register(), { name: 'InvalidAMIName.Duplicate' });
    await t.throwsAsync(early.send(new CreateTagsCommand({ Resources: ['ami-1'], Tags: [{ Key: 'a', Value: 'b' }] })), {
      name: 'InvalidAMIID.NotFound',
    });
    const ssm = new SSMClient({});
    const point = (Value: string) =>
      ssm.send(new PutParameterCommand({ Name: '/x/y', Value, Type: 'String', DataType: 'aws:ec2:image' }));
    await t.throwsAsync(point('ami-00000000000000000'), { name: 'ValidationException' });
    for (const one of [client, early, ssm]) one.destroy();
    await fake.close();
  },
);

test.serial(
  'nobody is let in without a signature, with another key, or with a body that was signed differently',
  async (t) => {
    const fake = await fakeAws(t);
    const bare = await fetch(fake.endpoint, { method: 'POST', body: 'Action=DescribeImages&Version=2016-11-15' });
    t.is(bare.status, 403);
    t.regex(await bare.text(), /MissingAuthenticationToken/);
    const { accessKeyId, sessionToken } = fake.credentials;
    for (const [credentials, name] of [
      [{ accessKeyId, secretAccessKey: 'wrong', sessionToken }, 'SignatureDoesNotMatch'],
      [{ accessKeyId: 'AKIAOTHER', secretAccessKey: 'wrong' }, 'AuthFailure'],
    ] as const) {
      const client = new EC2Client({ credentials, maxAttempts: 1 });
      await t.throwsAsync(client.send(new DescribeSnapshotsCommand({})), { name });
      client.destroy();
    }
    t.deepEqual(fake.calls, []);
    await fake.close();
  },
);

/** Debian's CLI: botocore, which has its own copy of the model and its own code. */
const CLI = '/usr/bin/aws';
const withCli = existsSync(CLI) ? test.serial : test.serial.skip;

async function aws(fake: FakeAws, ...args: string[]): Promise<Record<string, string>> {
  const { stdout } = await execa(CLI, ['--endpoint-url', fake.endpoint, '--output', 'json', ...args], {
    env: { ...fake.env, AWS_PAGER: '' },
  });
  return stdout ? JSON.parse(stdout) : {};
}

withCli('an independent client uploads, registers and reads through the same fake', async (t) => {
  const fake = await fakeAws(t);
  const { SnapshotId } = await aws(fake, 'ebs', 'start-snapshot', '--volume-size', '1', '--tags', 'Key=a,Value=b');
  const file = join(folder(), 'block');
  writeFileSync(file, seeded(7));
  const checksum = createHash('sha256').update(seeded(7)).digest();
  const put = (sum: string) =>
    aws(
      fake,
      'ebs',
      'put-snapshot-block',
      ...['--snapshot-id', SnapshotId as string, '--block-index', '9', '--block-data', file],
      ...['--data-length', String(BLOCK_BYTES), '--checksum', sum, '--checksum-algorithm', 'SHA256'],
    );
  await t.throwsAsync(put(createHash('sha256').digest('base64')), { message: /checksum of the block does not match/ });
  await put(checksum.toString('base64'));
  const sum = createHash('sha256').update(checksum).digest('base64');
  await aws(
    fake,
    'ebs',
    'complete-snapshot',
    '--snapshot-id',
    SnapshotId as string,
    '--changed-blocks-count',
    '1',
    '--checksum',
    sum,
    '--checksum-algorithm',
    'SHA256',
    '--checksum-aggregation-method',
    'LINEAR',
  );
  for (let look = 0; look < 2; look++) await aws(fake, 'ec2', 'describe-snapshots', '--owner-ids', 'self');
  const register = (architecture: string) =>
    aws(
      fake,
      'ec2',
      'register-image',
      '--name',
      'by the CLI',
      '--architecture',
      architecture,
      '--root-device-name',
      '/dev/sda1',
      '--block-device-mappings',
      `DeviceName=/dev/sda1,Ebs={SnapshotId=${SnapshotId}}`,
    );
  await t.throwsAsync(register('amd64'), { message: /Value \(amd64\) for parameter Architecture is invalid/ });
  const { ImageId } = await register('x86_64');
  const whole = Buffer.alloc(10 * BLOCK_BYTES);
  seeded(7).copy(whole, 9 * BLOCK_BYTES);
  t.is(await fake.rawSha256(REGION, ImageId as string, whole.length), createHash('sha256').update(whole).digest('hex'));
});

withCli('an independent client sees what our code made, and finds it by the documented line', async (t) => {
  const fake = await fakeAws(t);
  const cloud = await openCloud(t);
  const job = jobOf(await disk());
  const { imageId, snapshotId } = await publish(cloud, job);
  const [image] = await cloud.list(REGION);
  await cloud.setChannel(REGION, 'debian-13', 'latest', image);
  const line = ['ssm', 'get-parameter', '--name', '/clawdy/debian-13/latest', '--query', 'Parameter.Value'];
  t.is((await aws(fake, ...line)) as unknown, imageId);
  const { Images } = (await aws(
    fake,
    'ec2',
    'describe-images',
    '--owners',
    'self',
    '--filters',
    `Name=tag:clawdy-run,Values=${job.run}`,
  )) as unknown as {
    Images: [
      {
        ImageId: string;
        BootMode: string;
        ImdsSupport: string;
        BlockDeviceMappings: [{ Ebs: { SnapshotId: string; VolumeType: string } }];
        Tags: unknown[];
      },
    ];
  };
  t.is(Images.length, 1);
  t.like(Images[0], { ImageId: imageId, BootMode: 'uefi-preferred', ImdsSupport: 'v2.0' });
  t.like(Images[0].BlockDeviceMappings[0].Ebs, { SnapshotId: snapshotId, VolumeType: 'gp3' });
  t.is(Images[0].Tags.length, 6);
  await t.throwsAsync(aws(fake, 'ec2', 'delete-snapshot', '--snapshot-id', snapshotId), {
    message: /InvalidSnapshot.InUse/,
  });
});
