import type { Service } from './model.ts';
import type { Asked } from './policy.ts';
import { ACCOUNT, type Region, type State, type Tags, tagsFrom } from './state.ts';
import type { Values } from './wire.ts';

/** With whose rights AWS looks for what uses an image, and what it then calls (EC2 user guide, ec2-ami-references). */
const IMAGE_USE = [
  'ec2:DescribeInstances',
  'ec2:DescribeLaunchTemplates',
  'ec2:DescribeLaunchTemplateVersions',
  'imagebuilder:GetContainerRecipe',
  'imagebuilder:ListContainerRecipes',
  'imagebuilder:ListImageRecipes',
  'ssm:DescribeParameters',
  'ssm:GetParameters',
];

const KINDS: Record<string, string> = {
  ami: 'image',
  snap: 'snapshot',
  i: 'instance',
  vol: 'volume',
  sg: 'security-group',
};

/**
 * What a call asks IAM: each action on each resource it touches, with the condition keys that the service then supplies,
 * by AWS' service authorization reference. What is being made has the ARN `…/*`.
 */
export function askedBy(service: Service, name: string, input: Values, state: State, region: Region): Asked[] {
  const own = `${service}:${name}`;
  const specifications = (input.TagSpecifications ?? []) as { ResourceType: string; Tags?: unknown }[];
  const given = (kind: string) =>
    keysOf('Request', tagsFrom(specifications.find(({ ResourceType }) => ResourceType === kind)?.Tags));
  const made = (kind: string, keys: Asked['keys'] = {}): Asked => ({
    action: own,
    resource: arn(region, kind, '*'),
    keys: { ...given(kind), ...keys },
  });
  const there = (id: unknown, { action = own, at = region, keys = {} as Asked['keys'] } = {}): Asked => ({
    action,
    resource: arn(at, KINDS[String(id).split('-')[0] as string] ?? 'unknown', String(id)),
    keys: { ...keysOf('Resource', tagsOf(at, String(id))), ...keys },
  });
  const anywhere = (action: string, keys: Asked['keys'] = {}): Asked => ({ action, resource: '*', keys });
  // Tags that are given while something is made need the right to tag.
  const tagging = specifications.map(({ ResourceType }) => ({
    ...made(ResourceType, { 'ec2:CreateAction': name }),
    action: 'ec2:CreateTags',
  }));
  if (service === 'ssm') {
    const parameter = String(input.Name ?? input.Path ?? input.ResourceId).replace(/^\//, '');
    const resource = `arn:aws:ssm:${region.name}:${ACCOUNT}:parameter/${parameter}`;
    // SSM looks for the image with the caller's own rights.
    const looks = name === 'PutParameter' && input.DataType === 'aws:ec2:image';
    return [{ action: own, resource, keys: {} }, ...(looks ? [anywhere('ec2:DescribeImages')] : [])];
  }
  switch (name) {
    case 'StartSnapshot': {
      // EBS direct counts its tags as EC2's, but isn't EC2 and so supplies no ec2:CreateAction.
      const keys = keysOf('Request', tagsFrom(input.Tags));
      const begun = made('snapshot', keys);
      return [begun, ...(input.Tags ? [{ ...begun, action: 'ec2:CreateTags' }] : [])];
    }
    case 'PutSnapshotBlock':
    case 'CompleteSnapshot':
    case 'DeleteSnapshot':
      return [there(input.SnapshotId)];
    case 'RegisterImage': {
      const mappings = (input.BlockDeviceMappings ?? []) as { Ebs?: { SnapshotId?: string } }[];
      return [made('image'), ...mappings.map(({ Ebs }) => there(Ebs?.SnapshotId)), ...tagging];
    }
    case 'CopyImage': {
      const at = state.region(input.SourceRegion as string);
      const snapshotId = at.images.get(input.SourceImageId as string)?.snapshotId;
      const source = [input.SourceImageId, ...(snapshotId ? [snapshotId] : [])].map((id) => there(id, { at }));
      return [made('image'), made('snapshot'), ...source, ...tagging];
    }
    case 'RunInstances': {
      const groups = (input.SecurityGroupIds as string[] | undefined) ?? [];
      return [
        made('instance', { 'ec2:InstanceType': input.InstanceType as string }),
        ...['volume', 'network-interface', 'subnet'].map((kind) => made(kind)),
        ...(groups.length > 0 ? groups.map((id) => there(id)) : [made('security-group')]),
        there(input.ImageId),
        ...tagging,
      ];
    }
    case 'CreateSecurityGroup':
      return [made('security-group'), made('vpc'), ...tagging];
    case 'AuthorizeSecurityGroupIngress':
    case 'RevokeSecurityGroupIngress':
    case 'DeleteSecurityGroup':
      return [there(input.GroupId)];
    case 'DeregisterImage': {
      const snapshotId = region.images.get(input.ImageId as string)?.snapshotId;
      const more = input.DeleteAssociatedSnapshots ? [there(snapshotId, { action: 'ec2:DeleteSnapshot' })] : [];
      return [there(input.ImageId), ...(snapshotId ? more : [])];
    }
    case 'EnableImageDeprecation':
      return [there(input.ImageId)];
    case 'CreateTags':
    case 'DeleteTags':
      return (input.Resources as string[]).map((id) => there(id, { keys: named(input.Tags) }));
    case 'GetConsoleOutput':
      return [there(input.InstanceId)];
    case 'StartInstances':
    case 'StopInstances':
    case 'TerminateInstances':
      return (input.InstanceIds as string[]).map((id) => there(id));
    case 'DescribeImageReferences':
      return [
        anywhere(own),
        ...IMAGE_USE.map((action) => anywhere(action, { 'aws:CalledVia': 'ec2-images.amazonaws.com' })),
      ];
    default:
      return [anywhere(own), ...tagging];
  }
}

/** Images and snapshots are of no account in their ARNs. */
function arn({ name }: Region, kind: string, id: string): string {
  return `arn:aws:ec2:${name}:${['image', 'snapshot'].includes(kind) ? '' : ACCOUNT}:${kind}/${id}`;
}

function tagsOf({ images, snapshots, instances, groups }: Region, id: string): Tags {
  const disk = [...instances.values()].find(({ volumeId }) => volumeId === id)?.volumeTags;
  return disk ?? (images.get(id) ?? snapshots.get(id) ?? instances.get(id) ?? groups.get(id))?.tags ?? new Map();
}

/** Of a call that names tags itself. */
function named(tags: unknown): Asked['keys'] {
  const all = tagsFrom(tags);
  return { ...keysOf('Request', all), 'aws:TagKeys': [...all.keys()] };
}

function keysOf(of: 'Request' | 'Resource', tags: Tags): Asked['keys'] {
  return Object.fromEntries([...tags].map(([key, value]) => [`aws:${of}Tag/${key}`, value]));
}
