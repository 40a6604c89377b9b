import { BuildError } from '../../process/errors.ts';
import { type Job, LABELS, labelsOf } from '../cloud.ts';
import type { HetznerApi, ServerRequest } from './api.ts';
import { hasCode } from './errors.ts';
import type { Action, Server, ServerType } from './schemas.ts';

/** What a temporary server is for; with the run it makes its name, by which a later run finds it. */
export type Role = 'upload' | 'probe';

/** At most 54 characters: a run has 40, a host name 63. */
export function nameOf(job: Pick<Job, 'run'>, role: Role): string {
  return `clawdy-${job.run}-${role}`;
}

export function temporary(job: Job): Record<string, string> {
  return { ...labelsOf(job), [LABELS.temporary]: 'yes' };
}

/** Types that are tried in each location: beyond, the price is no longer that of a moment. */
const TYPES_TRIED = 4;

/** A server type, and where. */
export interface Place {
  type: string;
  location: string;
}

/**
 * Where a server with a disk of `diskGb` may be made, best first: the smallest disk that fits, wherever it is, because a
 * snapshot starts for ever only on disks as large as the one it was taken of, and in every location; then the region
 * itself; then the cheapest. @param size no type but this one. @throws BuildError where there is none.
 */
export async function placesFor(api: HetznerApi, region: string, diskGb: number, size?: string): Promise<Place[]> {
  const [types, locations] = await api.call('reading server types and locations', () =>
    Promise.all([api.serverTypes(), api.locations()]),
  );
  const zone = locations.find(({ name }) => name === region)?.network_zone;
  if (zone === undefined) {
    const known = locations.map(({ name }) => name).join(', ');
    throw new BuildError('hetzner', `there is no location ${region}`, `one of ${known}`);
  }
  const places = locations
    .filter(({ network_zone }) => network_zone === zone)
    .flatMap(({ name: location }) =>
      offered(types, location, diskGb)
        .filter(({ name }) => size === undefined || name === size)
        .slice(0, TYPES_TRIED)
        .map((type) => ({ type, location })),
    )
    .sort(
      (a, b) =>
        a.type.disk - b.type.disk ||
        Number(b.location === region) - Number(a.location === region) ||
        hourly(a.type, a.location) - hourly(b.type, b.location),
    )
    .map(({ type, location }) => ({ type: type.name, location }));
  if (places.length > 0) return places;
  const what = `no x86 server type ${size ?? ''} with ${diskGb} GB of disk is offered in ${region}`.replace('  ', ' ');
  throw new BuildError('hetzner', what, `another location with --region${size ? ', another size' : ''}, or try later`);
}

/** Types of a location with a large enough disk, of the image's architecture, best first. */
export function offered(types: ServerType[], location: string, diskGb: number): ServerType[] {
  return types
    .filter(({ architecture, disk, locations }) => {
      const here = locations.find(({ name }) => name === location);
      return architecture === 'x86' && disk >= diskGb && here?.available && here.deprecation === null;
    })
    .sort((a, b) => a.disk - b.disk || hourly(a, location) - hourly(b, location));
}

/** Bytes that Hetzner takes as user-data: https://docs.hetzner.cloud/reference/cloud#servers-create-a-server */
const USER_DATA_LIMIT = 32 * 1024;

/** @throws BuildError that repeats nothing of it. */
export function checkUserData(userData: string): void {
  if (Buffer.byteLength(userData) > USER_DATA_LIMIT)
    throw new BuildError('hetzner', `user-data has more than ${USER_DATA_LIMIT} bytes`, 'fewer keys or networks');
}

/** Net price of an hour. */
export function hourly({ prices }: ServerType, location: string): number {
  return Number(prices.find((price) => price.location === location)?.price_hourly.net ?? Number.POSITIVE_INFINITY);
}

export interface Wanted {
  role: Role;
  /** Name or ID. */
  image: string;
  diskGb: number;
  start: boolean;
  more: Pick<ServerRequest, 'ssh_keys' | 'user_data'>;
}

/**
 * Makes a temporary server and waits until it is off, or runs. There must be none of this name, but by a call of this very
 * function whose answer was lost: that one is taken.
 */
export async function makeServer(api: HetznerApi, job: Job, wanted: Wanted): Promise<Server> {
  const { role, image, start, more } = wanted;
  const name = nameOf(job, role);
  const places = await placesFor(api, job.region, wanted.diskGb);
  job.note({ [`${role}-server`]: name });
  const request = {
    ...{ name, image, labels: temporary(job), start_after_create: start },
    public_net: { enable_ipv4: true, enable_ipv6: false },
    ...more,
  };
  const made = async () => (await api.servers({ name }))[0]?.id;
  const id = await createServer(api, request, places, made, job.detail);
  job.note({ [role === 'upload' ? 'server' : 'probe']: String(id) });
  return settled(api, id, start ? 'running' : 'off');
}

/**
 * Creates a server in the first place that has one free.
 * @param made the ID of the one that is there already: it is taken if its creation ends well, and deleted if not.
 */
export async function createServer(
  api: HetznerApi,
  request: Omit<ServerRequest, 'server_type' | 'location'>,
  places: Place[],
  made: () => Promise<number | undefined>,
  detail: (text: string) => void,
): Promise<number> {
  for (const { type, location } of places) {
    detail(`creating ${type} in ${location}`);
    const id = await createAt(api, { ...request, server_type: type, location }, made, detail);
    if (id !== undefined) return id;
  }
  const tried = places.map(({ type, location }) => `${type} in ${location}`).join(', ');
  throw new BuildError(
    'hetzner',
    `Hetzner has no server free: ${tried}`,
    'try later, or another location with --region',
  );
}

/** @returns undefined where this place has none free. */
function createAt(
  api: HetznerApi,
  request: ServerRequest,
  made: () => Promise<number | undefined>,
  detail: (text: string) => void,
): Promise<number | undefined> {
  const what = `creating server ${request.name}`;
  return api.call(
    what,
    async () => {
      // An earlier attempt may have made it without our hearing of it; uniqueness_error would only tell the same later.
      const known = await made();
      let begun: { id: number; actions: Action[] } | undefined;
      if (known !== undefined) begun = { id: known, actions: await creationOf(api, known) };
      try {
        begun ??= await api.createServer(request);
        await api.wait(what, ...begun.actions);
        return begun.id;
      } catch (error) {
        // One that isn't whole would be taken for the right one by the next attempt, and is billed.
        if (begun) await api.deleteServer(begun.id);
        // Another place may have what this one lacks. Both codes come from the call, or from its action.
        if (hasCode(error, 'resource_unavailable', 'placement_error')) return undefined;
        throw error;
      }
    },
    detail,
  );
}

async function creationOf(api: HetznerApi, id: number): Promise<Action[]> {
  return (await api.serverActions(id)).filter(({ command }) => command === 'create_server');
}

/** Waits until no action runs on it and it is in the state. */
export function settled(api: HetznerApi, id: number, status: 'off' | 'running'): Promise<Server> {
  return api.until(`waiting until server ${id} is ${status}`, async () => {
    const server = await api.call(`looking at server ${id}`, () => api.server(id));
    if (!server) throw new BuildError('hetzner', `server ${id} is gone`, 'somebody deleted it; publish again');
    return server.status === status && !server.locked ? server : undefined;
  });
}

/** Deletes the servers of a role of this run, however many; none is fine. */
export async function dropServers(api: HetznerApi, job: Job, role: Role): Promise<void> {
  const name = nameOf(job, role);
  await api.call(
    `deleting server ${name}`,
    async () => {
      for (const { id } of await api.servers({ name })) await api.deleteServer(id);
    },
    job.detail,
  );
}
