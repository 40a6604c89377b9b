import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Call, filtered, type Handler, page } from './handler.ts';
import { imageOf, snapshotOf, specified } from './images.ts';
import { ACCOUNT, type FakeInstance, newId, type Region, tagList } from './state.ts';
import { ApiError, type Values } from './wire.ts';

/** GetConsoleOutput gives no more. */
const CONSOLE_BYTES = 64 * 1024;

/** What a launch makes, and so can label. */
const TAGGED = ['instance', 'volume', 'network-interface'];

const CODES = { pending: 0, running: 16, 'shutting-down': 32, terminated: 48 };

function instanceOf(region: Region, id: unknown): FakeInstance {
  if (!/^i-[0-9a-f]{8,17}$/.test(String(id))) throw new ApiError('InvalidInstanceID.Malformed', `Invalid id: "${id}"`);
  const instance = region.instances.get(id as string);
  if (!instance) throw new ApiError('InvalidInstanceID.NotFound', `The instance ID '${id}' does not exist`);
  return instance;
}

function asInstance({ id, imageId, type, state, tags, launched, metadata }: FakeInstance): Values {
  return {
    InstanceId: id,
    ImageId: imageId,
    InstanceType: type,
    State: { Code: CODES[state], Name: state },
    LaunchTime: launched,
    MetadataOptions: metadata,
    Tags: tagList(tags),
  };
}

async function launch({ state, region }: Call, input: Values): Promise<string> {
  const image = imageOf(region, input.ImageId);
  if (image.state !== 'available') throw new ApiError('InvalidAMIID.Unavailable', `${image.id} is ${image.state}`);
  const type = input.InstanceType as string;
  if (state.behaviour.noCapacity.has(type))
    throw new ApiError('InsufficientInstanceCapacity', `We currently do not have sufficient ${type} capacity`, 500);
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
    launched: new Date(),
    metadata: {
      HttpEndpoint: given.HttpEndpoint ?? 'enabled',
      HttpTokens: given.HttpTokens ?? (isV2 ? 'required' : 'optional'),
      HttpPutResponseHopLimit: given.HttpPutResponseHopLimit ?? (isV2 ? 2 : 1),
    },
    volumeTags: specified(input, 'volume', TAGGED),
    onShutdown: (input.InstanceInitiatedShutdownBehavior as string | undefined) ?? 'stop',
    machine,
    disk,
    lastConsole: '',
  });
  return id;
}

/** Ends a machine and takes its disk away. */
export async function end(instance: FakeInstance): Promise<void> {
  if (instance.state === 'terminated' || instance.state === 'shutting-down') return;
  instance.state = 'shutting-down';
  instance.lastConsole = instance.machine.console();
  await instance.machine.off();
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
    const known = token ? region.tokens.get(token) : undefined;
    const mismatch = new ApiError('IdempotentParameterMismatch', 'the token was used for another request');
    const made = known ? '' : await launch(call, input);
    const id = state.once(region, token, { ...input, op: 'RunInstances' }, mismatch, () => made);
    return { ReservationId: newId('r'), OwnerId: ACCOUNT, Instances: [asInstance(instanceOf(region, id))] };
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
        Instances: [asInstance(item)],
      })),
    };
    for (const item of items) {
      if (item.state === 'pending') item.state = 'running';
      if (item.state === 'shutting-down') item.state = 'terminated';
    }
    return answer;
  },

  GetConsoleOutput: ({ region }, input) => {
    const instance = instanceOf(region, input.InstanceId);
    const isOver = instance.state === 'terminated' || instance.state === 'shutting-down';
    // While a machine runs only Latest reads its console; without, it is what was kept when it last changed its state.
    const text = Buffer.from(isOver ? instance.lastConsole : input.Latest ? instance.machine.console() : '');
    return { InstanceId: instance.id, Timestamp: new Date(), Output: text.subarray(-CONSOLE_BYTES).toString('base64') };
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
