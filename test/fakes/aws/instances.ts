import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { groupOf } from './groups.ts';
import { type Call, filtered, type Handler, page } from './handler.ts';
import { imageOf, snapshotOf, specified } from './images.ts';
import { ACCOUNT, type FakeInstance, newId, type Region, tagList } from './state.ts';
import { ApiError, type Values } from './wire.ts';

/** GetConsoleOutput gives no more. */
const CONSOLE_BYTES = 64 * 1024;

/** What a launch makes, and so can label. */
const TAGGED = ['instance', 'volume', 'network-interface'];

const CODES = { pending: 0, running: 16, 'shutting-down': 32, terminated: 48, stopping: 64, stopped: 80 };

/** EC2 takes no more, before base64. */
const USER_DATA_BYTES = 16 * 1024;

/** Addresses of 198.51.100.0/24, each once. */
let addresses = 0;

function instanceOf(region: Region, id: unknown): FakeInstance {
  if (!/^i-[0-9a-f]{8,17}$/.test(String(id))) throw new ApiError('InvalidInstanceID.Malformed', `Invalid id: "${id}"`);
  const instance = region.instances.get(id as string);
  if (!instance) throw new ApiError('InvalidInstanceID.NotFound', `The instance ID '${id}' does not exist`);
  return instance;
}

function asInstance(region: Region, instance: FakeInstance): Values {
  const { id, imageId, type, state, tags, launched, metadata } = instance;
  const isOver = state === 'terminated';
  const groups = instance.groups.map((GroupId) => ({ GroupId, GroupName: region.groups.get(GroupId)?.name }));
  return {
    InstanceId: id,
    ImageId: imageId,
    InstanceType: type,
    State: { Code: CODES[state], Name: state },
    LaunchTime: launched,
    MetadataOptions: metadata,
    PublicIpAddress: instance.address,
    RootDeviceName: '/dev/sda1',
    RootDeviceType: 'ebs',
    // What was a machine's own isn't told any more of one that is over.
    SecurityGroups: isOver ? [] : groups,
    BlockDeviceMappings: isOver
      ? []
      : [
          {
            DeviceName: '/dev/sda1',
            Ebs: { VolumeId: instance.volumeId, DeleteOnTermination: instance.deletesDisk, Status: 'attached' },
          },
        ],
    NetworkInterfaces: isOver ? [] : [{ Groups: groups, Attachment: { DeviceIndex: 0, AttachTime: instance.created } }],
    Tags: tagList(tags),
  };
}

function nextAddress({ behaviour }: Call['state']): string | undefined {
  return behaviour.givesAddresses ? `198.51.100.${(addresses++ % 254) + 1}` : undefined;
}

function noCapacity(type: string): ApiError {
  return new ApiError('InsufficientInstanceCapacity', `We currently do not have sufficient ${type} capacity`, 500);
}

function unfit({ id, state }: FakeInstance, for_: string): ApiError {
  return new ApiError('IncorrectInstanceState', `The instance '${id}' is ${state}: it can't be ${for_}.`);
}

function changeOf({ id, state }: FakeInstance, before: FakeInstance['state']): Values {
  const asState = (name: FakeInstance['state']) => ({ Code: CODES[name], Name: name });
  return { InstanceId: id, CurrentState: asState(state), PreviousState: asState(before) };
}

async function launch({ state, region }: Call, input: Values): Promise<string> {
  const image = imageOf(region, input.ImageId);
  if (image.state !== 'available') throw new ApiError('InvalidAMIID.Unavailable', `${image.id} is ${image.state}`);
  const type = input.InstanceType as string;
  if (state.behaviour.noCapacity.has(type)) throw noCapacity(type);
  const groups = (input.SecurityGroupIds as string[] | undefined) ?? [[...region.groups.keys()][0] as string];
  for (const group of groups) groupOf(region, group);
  const given = (input.MetadataOptions ?? {}) as Values;
  const isV2 = image.attributes.ImdsSupport === 'v2.0';
  const id = newId('i');
  const disk = join(state.dir, `${id}.raw`);
  state.reassemble(snapshotOf(region, image.snapshotId), disk);
  const userData = Buffer.from((input.UserData as string | undefined) ?? '', 'base64').toString('utf8');
  const machine = await state.hypervisor.boot({ disk, instanceId: id, userData });
  region.instances.set(id, {
    id,
    imageId: image.id,
    type,
    state: 'pending',
    tags: specified(input, 'instance', TAGGED),
    created: new Date(),
    launched: new Date(),
    // As EC2 has it where nothing is said.
    deletesDisk: Boolean(image.rootDisk.DeleteOnTermination ?? true),
    volumeId: newId('vol'),
    groups,
    address: nextAddress(state),
    metadata: {
      HttpEndpoint: given.HttpEndpoint ?? 'enabled',
      HttpTokens: given.HttpTokens ?? (isV2 ? 'required' : 'optional'),
      HttpPutResponseHopLimit: given.HttpPutResponseHopLimit ?? (isV2 ? 2 : 1),
    },
    volumeTags: specified(input, 'volume', TAGGED),
    onShutdown: (input.InstanceInitiatedShutdownBehavior as string | undefined) ?? 'stop',
    machine,
    disk,
    asked: input,
    userData,
    lastConsole: '',
  });
  return id;
}

async function off(instance: FakeInstance): Promise<void> {
  instance.lastConsole = instance.machine.console();
  await instance.machine.off();
}

/** Ends a machine and takes its disk away. */
export async function end(instance: FakeInstance): Promise<void> {
  if (instance.state === 'terminated' || instance.state === 'shutting-down') return;
  instance.state = 'shutting-down';
  instance.address = undefined;
  await off(instance);
  rmSync(instance.disk, { force: true });
}

/** Machines, as EC2 has them. */
export const INSTANCES: Record<string, Handler> = {
  RunInstances: async (call, input) => {
    const { state, region } = call;
    if (input.MinCount !== 1 || input.MaxCount !== 1)
      throw new ApiError('InvalidParameterValue', 'the fake starts one machine at a time');
    const token = input.ClientToken as string | undefined;
    if (token && token.length > 64) throw new ApiError('InvalidParameterValue', 'ClientToken is longer than 64');
    if (input.UserData !== undefined && !/^[A-Za-z0-9+/]*={0,2}$/.test(input.UserData as string))
      throw new ApiError('InvalidUserData.Malformed', 'Invalid BASE64 encoding of user data.');
    if (Buffer.byteLength((input.UserData as string | undefined) ?? '', 'base64') > USER_DATA_BYTES)
      throw new ApiError('InvalidParameterValue', `User data is limited to ${USER_DATA_BYTES} bytes`);
    const known = token ? region.tokens.get(token) : undefined;
    const mismatch = new ApiError('IdempotentParameterMismatch', 'the token was used for another request');
    const made = known ? '' : await launch(call, input);
    const id = state.once(region, token, { ...input, op: 'RunInstances' }, mismatch, () => made);
    return { ReservationId: newId('r'), OwnerId: ACCOUNT, Instances: [asInstance(region, instanceOf(region, id))] };
  },

  DescribeInstances: (call, input) => {
    const { region } = call;
    const ids = input.InstanceIds as string[] | undefined;
    if (ids && input.MaxResults !== undefined)
      throw new ApiError('InvalidParameterCombination', 'InstanceIds and MaxResults exclude each other');
    if (ids) for (const id of ids) instanceOf(region, id);
    const wanted = [...region.instances.values()].filter(({ id }) => !ids || ids.includes(id));
    const { items, ...more } = page(
      call,
      filtered(wanted, input.Filters, ({ tags, state }) => ({ tags, fields: { 'instance-state-name': [state] } })),
      input,
    );
    const answer = {
      ...more,
      Reservations: items.map((item) => ({
        ReservationId: `r-${item.id.slice(2)}`,
        OwnerId: ACCOUNT,
        Instances: [asInstance(region, item)],
      })),
    };
    for (const item of items) {
      if (item.state === 'pending') item.state = 'running';
      if (item.state === 'stopping') item.state = 'stopped';
      if (item.state === 'shutting-down') item.state = 'terminated';
    }
    return answer;
  },

  GetConsoleOutput: ({ region }, input) => {
    const instance = instanceOf(region, input.InstanceId);
    const isOff = !['pending', 'running'].includes(instance.state);
    // While a machine runs only Latest reads its console; without, it is what was kept when it last changed its state.
    const text = Buffer.from(isOff ? instance.lastConsole : input.Latest ? instance.machine.console() : '');
    return { InstanceId: instance.id, Timestamp: new Date(), Output: text.subarray(-CONSOLE_BYTES).toString('base64') };
  },

  StopInstances: async ({ region }, input) => {
    const instances = (input.InstanceIds as string[]).map((id) => instanceOf(region, id));
    const isFit = ({ state }: FakeInstance) => ['running', 'stopping', 'stopped'].includes(state);
    for (const instance of instances) if (!isFit(instance)) throw unfit(instance, 'stopped');
    const StoppingInstances = [];
    for (const instance of instances) {
      const before = instance.state;
      if (before === 'running') {
        Object.assign(instance, { state: 'stopping', address: undefined });
        await off(instance);
      }
      StoppingInstances.push(changeOf(instance, before));
    }
    return { StoppingInstances };
  },

  StartInstances: async ({ state, region }, input) => {
    const instances = (input.InstanceIds as string[]).map((id) => instanceOf(region, id));
    const isFit = ({ state }: FakeInstance) => ['pending', 'running', 'stopped'].includes(state);
    for (const instance of instances) if (!isFit(instance)) throw unfit(instance, 'started');
    const StartingInstances = [];
    for (const instance of instances) {
      const { id: instanceId, disk, userData, type } = instance;
      const before = instance.state;
      if (before === 'stopped') {
        if (state.behaviour.noCapacity.has(type)) throw noCapacity(type);
        const machine = await state.hypervisor.boot({ disk, instanceId, userData });
        Object.assign(instance, { machine, state: 'pending', address: nextAddress(state), launched: new Date() });
      }
      StartingInstances.push(changeOf(instance, before));
    }
    return { StartingInstances };
  },

  TerminateInstances: async ({ region }, input) => {
    const instances = (input.InstanceIds as string[]).map((id) => instanceOf(region, id));
    for (const instance of instances) await end(instance);
    return {
      TerminatingInstances: instances.map(({ id, state }) => ({
        InstanceId: id,
        CurrentState: { Code: CODES[state], Name: state },
      })),
    };
  },
};
