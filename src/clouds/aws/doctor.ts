import {
  CopyImageCommand,
  CreateSecurityGroupCommand,
  CreateTagsCommand,
  DeleteSnapshotCommand,
  DeleteTagsCommand,
  DeregisterImageCommand,
  DescribeImageReferencesCommand,
  DescribeImagesCommand,
  DescribeInstancesCommand,
  DescribeSecurityGroupsCommand,
  DescribeSnapshotsCommand,
  EnableImageDeprecationCommand,
  GetConsoleOutputCommand,
  RegisterImageCommand,
  RunInstancesCommand,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2';
import { GetParametersByPathCommand } from '@aws-sdk/client-ssm';
import type { Check } from '../../doctor/check.ts';
import { BuildError } from '../../process/errors.ts';
import { LABELS, OWNER } from '../cloud.ts';
import { describe, snapshotIdOf } from './describe.ts';
import { codeOf } from './errors.ts';
import { TYPES } from './instances.ts';
import { OURS } from './labels.ts';
import type { Session } from './session.ts';

/** IDs that nothing has, for want of something of ours. */
const NOBODY = { image: 'ami-00000000000000000', snapshot: 'snap-00000000000000000', instance: 'i-00000000000000000' };

/** Actions that the policy allows on machines of ours, of which there is none between two publishes. */
const INSTANCES = new Set(['ec2:GetConsoleOutput', 'ec2:TerminateInstances']);

/** Actions that the policy allows on what has our label. */
const LABELLED = new Set([
  ...INSTANCES,
  'ec2:RegisterImage',
  'ec2:CopyImage',
  'ec2:RunInstances',
  'ec2:CreateTags',
  'ec2:DeleteTags',
  'ec2:EnableImageDeprecation',
  'ec2:DeregisterImage',
  'ec2:DeleteSnapshot',
]);

const Tags = [{ Key: LABELS.owner, Value: OWNER }];
const temporary = [...Tags, { Key: LABELS.temporary, Value: 'yes' }];
const POLICY = 'attach docs/clouds/aws-policy.json to the role or user';

/** Credentials, regions and permissions, changing nothing: EC2 by its own dry runs, SSM by reading. @see Cloud.doctor */
export async function doctor(session: Session): Promise<Check[]> {
  const checks: Check[] = [
    { name: 'aws credentials', ok: true, found: "by the SDK's own chain", fix: 'docs/clouds/aws.md shows the ways' },
  ];
  for (const region of session.regions) {
    const reached = await reach(session, region);
    checks.push(reached);
    if (!reached.ok) continue;
    checks.push(await permissions(session, region), await channels(session, region), await launching(session, region), {
      name: `aws ${region}: EBS direct`,
      ok: true,
      found: 'not tried: it has no dry run; the first block of a publish shows it',
      fix: POLICY,
    });
  }
  return checks;
}

/** A real call, so that keys, clock, name resolution and the region's being enabled are all seen. */
async function reach(session: Session, region: string): Promise<Check> {
  const name = `aws ${region}`;
  try {
    await session.ask(`reaching ${region}`, () =>
      session.ec2(region).send(new DescribeImagesCommand({ Owners: ['self'], Filters: [OURS] })),
    );
    return { name, ok: true, found: 'answers, and takes the credentials', fix: '' };
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    return { name, ok: false, found: error.message, fix: error.hint };
  }
}

async function permissions(session: Session, region: string): Promise<Check> {
  const [own] = await describe(session, region, { filters: [OURS] });
  const image = own?.ImageId ?? NOBODY.image;
  const snapshot = (own && snapshotIdOf(own)) ?? NOBODY.snapshot;
  const calls = Object.entries(dryRuns(session, region, image, snapshot));
  const missing: string[] = [];
  const untried: string[] = [];
  for (const [action, call] of calls) {
    const outcome = await session.ask(`asking whether ${action} is allowed`, () => outcomeOf(call()));
    // The policy allows these on what has our label; refused on an ID that nothing has, that says nothing.
    const onNothing = LABELLED.has(action) && (INSTANCES.has(action) || !own);
    if (outcome === 'missing' && !onNothing) missing.push(action);
    if (outcome === 'untried' || (outcome === 'missing' && onNothing)) untried.push(action);
  }
  const found =
    missing.length > 0
      ? `not allowed: ${missing.join(', ')}`
      : `${calls.length - untried.length} actions of EC2 are allowed, by dry run`;
  return {
    name: `aws ${region}: permissions`,
    ok: missing.length === 0,
    found: untried.length > 0 ? `${found}; nothing to try on: ${untried.join(', ')}` : found,
    fix: POLICY,
  };
}

async function outcomeOf(call: Promise<unknown>): Promise<'allowed' | 'missing' | 'untried'> {
  try {
    await call;
    return 'allowed';
  } catch (error) {
    const code = codeOf(error);
    if (code === 'DryRunOperation') return 'allowed';
    if (code === 'UnauthorizedOperation' || code === 'AccessDenied') return 'missing';
    // It was about to look for what we named, so nothing can be said about the permission.
    if (/NotFound|Malformed|Unavailable$|^InvalidParameter|^InvalidAMIID|^InvalidSnapshot/.test(code)) return 'untried';
    throw error;
  }
}

/** Every EC2 action of docs/clouds/aws-policy.json, as it would be used. */
function dryRuns(
  session: Session,
  region: string,
  image: string,
  snapshot: string,
): Record<string, () => Promise<unknown>> {
  const ec2 = session.ec2(region);
  const { instance } = NOBODY;
  const DryRun = true;
  return {
    'ec2:DescribeImages': () => ec2.send(new DescribeImagesCommand({ DryRun, Owners: ['self'] })),
    'ec2:DescribeSnapshots': () => ec2.send(new DescribeSnapshotsCommand({ DryRun, OwnerIds: ['self'] })),
    'ec2:DescribeInstances': () => ec2.send(new DescribeInstancesCommand({ DryRun })),
    'ec2:DescribeImageReferences': () =>
      ec2.send(new DescribeImageReferencesCommand({ DryRun, ImageIds: [image], IncludeAllResourceTypes: true })),
    'ec2:RegisterImage': () =>
      ec2.send(
        new RegisterImageCommand({
          DryRun,
          Name: 'clawdy-doctor',
          Architecture: 'x86_64',
          VirtualizationType: 'hvm',
          RootDeviceName: '/dev/sda1',
          BlockDeviceMappings: [{ DeviceName: '/dev/sda1', Ebs: { SnapshotId: snapshot } }],
          TagSpecifications: [{ ResourceType: 'image', Tags }],
        }),
      ),
    'ec2:CopyImage': () =>
      ec2.send(
        new CopyImageCommand({
          DryRun,
          Name: 'clawdy-doctor',
          SourceImageId: image,
          SourceRegion: region,
          TagSpecifications: [
            { ResourceType: 'image', Tags },
            { ResourceType: 'snapshot', Tags },
          ],
        }),
      ),
    'ec2:CreateTags': () => ec2.send(new CreateTagsCommand({ DryRun, Resources: [image], Tags })),
    'ec2:DeleteTags': () =>
      ec2.send(new DeleteTagsCommand({ DryRun, Resources: [image], Tags: [{ Key: 'clawdy-channel-candidate' }] })),
    'ec2:RunInstances': () =>
      ec2.send(
        new RunInstancesCommand({
          DryRun,
          ImageId: image,
          InstanceType: TYPES[0],
          MinCount: 1,
          MaxCount: 1,
          MetadataOptions: { HttpTokens: 'required', HttpPutResponseHopLimit: 1 },
          TagSpecifications: [
            { ResourceType: 'instance', Tags: temporary },
            { ResourceType: 'volume', Tags: temporary },
          ],
        }),
      ),
    'ec2:GetConsoleOutput': () => ec2.send(new GetConsoleOutputCommand({ DryRun, InstanceId: instance })),
    'ec2:TerminateInstances': () => ec2.send(new TerminateInstancesCommand({ DryRun, InstanceIds: [instance] })),
    'ec2:EnableImageDeprecation': () =>
      ec2.send(
        new EnableImageDeprecationCommand({ DryRun, ImageId: image, DeprecateAt: new Date(Date.now() + 3_600_000) }),
      ),
    'ec2:DeregisterImage': () => ec2.send(new DeregisterImageCommand({ DryRun, ImageId: image })),
    'ec2:DeleteSnapshot': () => ec2.send(new DeleteSnapshotCommand({ DryRun, SnapshotId: snapshot })),
  };
}

/** What of launching can be tried without a machine; whoever only publishes needs none of it. */
async function launching(session: Session, region: string): Promise<Check> {
  const name = `aws ${region}: launching`;
  const ec2 = session.ec2(region);
  const labels = [...temporary, { Key: LABELS.launched, Value: 'yes' }];
  const calls: Record<string, () => Promise<unknown>> = {
    'ec2:DescribeSecurityGroups': () => ec2.send(new DescribeSecurityGroupsCommand({ DryRun: true })),
    'ec2:CreateSecurityGroup': () =>
      ec2.send(
        new CreateSecurityGroupCommand({
          DryRun: true,
          GroupName: 'clawdy-doctor',
          Description: 'clawdy doctor',
          TagSpecifications: [{ ResourceType: 'security-group', Tags: labels }],
        }),
      ),
  };
  try {
    const missing: string[] = [];
    for (const [action, call] of Object.entries(calls)) {
      const outcome = await session.ask(`asking whether ${action} is allowed`, () => outcomeOf(call()));
      if (outcome !== 'allowed') missing.push(action);
    }
    const found =
      missing.length > 0
        ? `not allowed: ${missing.join(', ')}; only launching needs docs/clouds/aws-launch-policy.json`
        : 'security groups can be made, by dry run; the rest can be tried on a machine alone';
    return { name, ok: true, found, fix: '' };
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    return { name, ok: false, found: error.message, fix: error.hint };
  }
}

async function channels(session: Session, region: string): Promise<Check> {
  const name = `aws ${region}: channels`;
  try {
    await session.ask('reading channels', () =>
      session.ssm(region).send(new GetParametersByPathCommand({ Path: '/clawdy', Recursive: true })),
    );
    return { name, ok: true, found: 'parameters under /clawdy can be read; writing has no dry run', fix: '' };
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    return { name, ok: false, found: error.message, fix: error.hint };
  }
}
