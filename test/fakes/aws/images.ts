import { type Call, filtered, type Handler, page } from './handler.ts';
import { ACCOUNT, type FakeImage, newId, type Region, type Snapshot, type Tags, tagList, tagsFrom } from './state.ts';
import { ApiError, type Values } from './wire.ts';

const refuse = (code: string, message: string) => new ApiError(code, message);

export function imageOf(region: Region, id: unknown): FakeImage {
  const image = region.images.get(id as string);
  if (image) return image;
  if (region.formerImages.has(id as string))
    throw refuse('InvalidAMIID.Unavailable', `The image id '[${id}]' is no longer available`);
  throw refuse('InvalidAMIID.NotFound', `The image id '[${id}]' does not exist`);
}

export function snapshotOf(region: Region, id: unknown): Snapshot {
  const snapshot = region.snapshots.get(id as string);
  if (!snapshot) throw refuse('InvalidSnapshot.NotFound', `The snapshot '${id}' does not exist.`);
  return snapshot;
}

/** Tags that a call gives to one type of what it makes. */
export function specified(input: Values, type: string, allowed: string[]): Tags {
  const list = (input.TagSpecifications ?? []) as { ResourceType?: string; Tags?: unknown }[];
  for (const { ResourceType = '' } of list)
    if (!allowed.includes(ResourceType))
      throw refuse('InvalidParameterValue', `'${ResourceType}' is not valid for this call's tags`);
  return tagsFrom(list.find(({ ResourceType }) => ResourceType === type)?.Tags);
}

function checkName(region: Region, name: string): void {
  if (!/^[A-Za-z0-9()[\] ./'@_-]{3,128}$/.test(name))
    throw refuse('InvalidAMIName.Malformed', `AMI name ${name} is invalid`);
  const taken = [...region.images.values()].find((image) => image.name === name);
  if (taken) throw refuse('InvalidAMIName.Duplicate', `AMI name ${name} is already in use by AMI ${taken.id}`);
}

function add(
  { state, region }: Call,
  image: Omit<FakeImage, 'id' | 'state' | 'looks' | 'created' | 'deprecated' | 'reason'>,
): string {
  const id = newId('ami');
  const fails = state.behaviour.failNextImage;
  state.behaviour.failNextImage = false;
  region.images.set(id, {
    ...image,
    id,
    state: fails ? 'failed' : 'pending',
    looks: 0,
    created: new Date(),
    deprecated: undefined,
    reason: fails ? 'Internal failure of the snapshot copy' : undefined,
  });
  return id;
}

function asImage(region: Region, image: FakeImage): Values {
  const snapshot = region.snapshots.get(image.snapshotId);
  return {
    ImageId: image.id,
    Name: image.name,
    OwnerId: ACCOUNT,
    State: image.state,
    StateReason: image.reason ? { Code: 'Client.InternalError', Message: image.reason } : undefined,
    CreationDate: image.created.toISOString(),
    DeprecationTime: image.deprecated?.toISOString(),
    RootDeviceName: image.rootDevice,
    RootDeviceType: 'ebs',
    ImageType: 'machine',
    Public: false,
    ...image.attributes,
    BlockDeviceMappings: [
      {
        DeviceName: image.rootDevice,
        Ebs: {
          // A copy that isn't done doesn't say yet of which snapshot it will be.
          SnapshotId: image.isCopy && image.state !== 'available' ? undefined : image.snapshotId,
          VolumeSize: snapshot?.volumeSize,
          VolumeType: 'gp2',
          DeleteOnTermination: false,
          ...image.rootDisk,
          Encrypted: snapshot?.encrypted ?? false,
        },
      },
    ],
    Tags: tagList(image.tags),
  };
}

/** AMIs and snapshots, as EC2 has them. */
export const IMAGES: Record<string, Handler> = {
  RegisterImage: (call, input) => {
    const { region } = call;
    checkName(region, input.Name as string);
    const mappings = (input.BlockDeviceMappings ?? []) as { DeviceName?: string; Ebs?: Values }[];
    const root = mappings.find(({ DeviceName }) => DeviceName === input.RootDeviceName);
    if (!root?.Ebs?.SnapshotId) throw refuse('InvalidBlockDeviceMapping', 'the root device needs a snapshot');
    const snapshot = snapshotOf(region, root.Ebs.SnapshotId);
    const { SnapshotId: _, ...rootDisk } = root.Ebs;
    if (snapshot.state !== 'completed') throw refuse('IncorrectState', `${snapshot.id} is ${snapshot.state}`);
    const {
      Architecture = 'i386',
      VirtualizationType = 'paravirtual',
      BootMode,
      EnaSupport,
      SriovNetSupport,
      ImdsSupport,
    } = input;
    const id = add(call, {
      name: input.Name as string,
      tags: specified(input, 'image', ['image', 'snapshot']),
      attributes: {
        Architecture,
        VirtualizationType,
        BootMode,
        EnaSupport,
        SriovNetSupport,
        ImdsSupport,
        Description: input.Description,
      },
      rootDevice: input.RootDeviceName as string,
      rootDisk,
      isCopy: false,
      snapshotId: snapshot.id,
    });
    return { ImageId: id };
  },

  CopyImage: (call, input) => {
    const { state, region } = call;
    const from = state.region(input.SourceRegion as string);
    const mismatch = refuse('IdempotentParameterMismatch', 'the token was used for another request');
    const id = state.once(region, input.ClientToken, { ...input, op: 'CopyImage' }, mismatch, () => {
      const source = imageOf(from, input.SourceImageId);
      if (source.state !== 'available') throw refuse('InvalidAMIID.Unavailable', `${source.id} is ${source.state}`);
      checkName(region, input.Name as string);
      const original = snapshotOf(from, source.snapshotId);
      const snapshot: Snapshot = {
        ...original,
        id: newId('snap'),
        tags: specified(input, 'snapshot', ['image', 'snapshot']),
        started: new Date(),
        blocks: new Map(original.blocks),
        put: new Map(),
      };
      region.snapshots.set(snapshot.id, snapshot);
      const tags = specified(input, 'image', ['image', 'snapshot']);
      return add(call, {
        name: input.Name as string,
        tags: input.CopyImageTags ? new Map([...source.tags, ...tags]) : tags,
        attributes: { ...source.attributes, Description: input.Description },
        rootDevice: source.rootDevice,
        rootDisk: source.rootDisk,
        isCopy: true,
        snapshotId: snapshot.id,
      });
    });
    return { ImageId: id };
  },

  DescribeImages: (call, input) => {
    const { state, region } = call;
    const ids = input.ImageIds as string[] | undefined;
    if (ids && input.MaxResults !== undefined)
      throw refuse('InvalidParameterCombination', 'ImageIds and MaxResults exclude each other');
    if (ids) for (const id of ids) imageOf(region, id);
    for (const image of region.images.values())
      if (image.state === 'pending' && image.looks++ >= state.behaviour.looks) image.state = 'available';
    const wanted = [...region.images.values()].filter(({ id }) => !ids || ids.includes(id));
    const { items, ...more } = page(
      call,
      filtered(wanted, input.Filters, ({ tags, name, state, snapshotId }) => ({
        tags,
        fields: { name: [name], state: [state], 'block-device-mapping.snapshot-id': [snapshotId] },
      })),
      input,
    );
    return { ...more, Images: items.map((image) => asImage(region, image)) };
  },

  DeregisterImage: ({ state, region }, input) => {
    const image = imageOf(region, input.ImageId);
    region.images.delete(image.id);
    region.formerImages.add(image.id);
    if (!input.DeleteAssociatedSnapshots) return { Return: true };
    const inUse = [...region.images.values()].some(({ snapshotId }) => snapshotId === image.snapshotId);
    const ReturnCode = inUse ? 'skipped' : (state.behaviour.keepSnapshots ?? 'success');
    if (ReturnCode === 'success') region.snapshots.delete(image.snapshotId);
    return { Return: true, DeleteSnapshotResults: [{ SnapshotId: image.snapshotId, ReturnCode }] };
  },

  EnableImageDeprecation: ({ region }, input) => {
    const image = imageOf(region, input.ImageId);
    const at = input.DeprecateAt as Date;
    if (at.getTime() < Date.now()) throw refuse('InvalidParameterValue', 'DeprecateAt is in the past');
    image.deprecated = new Date(Math.round(at.getTime() / 60_000) * 60_000);
    return { Return: true };
  },

  DescribeImageReferences: (call, input) => {
    const { region } = call;
    const ids = input.ImageIds as string[];
    if (ids.length > 10) throw refuse('InvalidParameterValue', 'at most 10 images');
    if (!input.IncludeAllResourceTypes && !input.ResourceTypes)
      throw refuse('MissingParameter', 'IncludeAllResourceTypes or ResourceTypes');
    const options = ((input.ResourceTypes ?? []) as { ResourceType?: string; ResourceTypeOptions?: Values[] }[])
      .filter(({ ResourceType }) => ResourceType === 'ec2:LaunchTemplate')
      .flatMap(
        ({ ResourceTypeOptions = [] }) => ResourceTypeOptions as { OptionName?: string; OptionValues?: string[] }[],
      );
    const depth = Number(options.find(({ OptionName }) => OptionName === 'version-depth')?.OptionValues?.[0] ?? 10);
    if (!(depth >= 1 && depth <= 10_000)) throw refuse('InvalidParameterValue', 'version-depth is 1 to 10000');
    const arn = (service: string, rest: string) => `arn:aws:${service}:${region.name}:${ACCOUNT}:${rest}`;
    const found = ids.flatMap((ImageId) => [
      ...[...region.instances.values()]
        .filter(({ imageId, state }) => imageId === ImageId && state !== 'terminated')
        .map(({ id }) => ({ ImageId, ResourceType: 'ec2:Instance', Arn: arn('ec2', `instance/${id}`) })),
      ...[...region.launchTemplates]
        .filter(([, versions]) => versions.slice(0, depth).includes(ImageId))
        .map(([id]) => ({ ImageId, ResourceType: 'ec2:LaunchTemplate', Arn: arn('ec2', `launch-template/${id}`) })),
      ...[...region.parameters.values()]
        .filter(({ value }) => value === ImageId)
        .map(({ name }) => ({ ImageId, ResourceType: 'ssm:Parameter', Arn: arn('ssm', `parameter${name}`) })),
    ]);
    const { items, ...more } = page(call, found, input);
    return { ...more, ImageReferences: items };
  },

  DescribeSnapshots: (call, input) => {
    const { state, region } = call;
    const ids = input.SnapshotIds as string[] | undefined;
    if (ids && input.MaxResults !== undefined)
      throw refuse('InvalidParameterCombination', 'SnapshotIds and MaxResults exclude each other');
    if (ids) for (const id of ids) snapshotOf(region, id);
    for (const snapshot of region.snapshots.values())
      if (snapshot.sealed && snapshot.state === 'pending' && snapshot.looks++ >= state.behaviour.looks)
        snapshot.state = snapshot.failure ? 'error' : 'completed';
    const wanted = [...region.snapshots.values()].filter(({ id }) => !ids || ids.includes(id));
    const { items, ...more } = page(
      call,
      filtered(wanted, input.Filters, ({ tags, state }) => ({ tags, fields: { status: [state] } })),
      input,
    );
    return {
      ...more,
      Snapshots: items.map(({ id, volumeSize, state, failure, tags, description, encrypted, started }) => ({
        SnapshotId: id,
        OwnerId: ACCOUNT,
        VolumeSize: volumeSize,
        State: state,
        StateMessage: state === 'error' ? failure : undefined,
        StartTime: started,
        Encrypted: encrypted,
        Description: description,
        Tags: tagList(tags),
      })),
    };
  },

  DeleteSnapshot: ({ region }, input) => {
    const { id } = snapshotOf(region, input.SnapshotId);
    const user = [...region.images.values()].find(({ snapshotId }) => snapshotId === id);
    if (user) throw refuse('InvalidSnapshot.InUse', `The snapshot ${id} is currently in use by ${user.id}`);
    region.snapshots.delete(id);
    return {};
  },
};
