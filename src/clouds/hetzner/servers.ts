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

/**
 * Where a server with a disk of `diskGb` may be made, best first: the smallest disk that fits, wherever it is, because a
 * snapshot starts for ever only on disks as large as the one it was taken of, and in every location; then the region
 * itself; then the cheapest.
 */
export async function placesFor(
  api: HetznerApi,
  region: string,
  diskGb: number,
): Promise<{ type: string; location: string }[]> {
  const [types, locations] = await api.call('reading server types and locations', () =>
    Promise.all([api.serverTypes(), api.locations()]),
  );
  const zone = locations.find(({ name }) => name === region)?.network_zone;
  if (zone === undefined) {
    const known = locations.map(({ name }) => name).join(', ');
    throw new BuildError('hetzner', `there is no location ${region}`, `one of ${known}`);
  }
  return locations
    .filter(({ network_zone }) => network_zone === zone)
    .flatMap(({ name: location }) =>
      offered(types, location, diskGb)
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
 * Makes a temporary server, in the first place that has one free, and waits until it is off, or runs. There must be none
 * of this name, but by a call of this very function whose answer was lost: that one is taken.
 */
export async function makeServer(api: HetznerApi, job: Job, wanted: Wanted): Promise<Server> {
  const name = nameOf(job, wanted.role);
  const places = await placesFor(api, job.region, wanted.diskGb);
  if (places.length === 0) {
    const what = `no x86 server type with ${wanted.diskGb} GB of disk is offered in ${job.region}`;
    throw new BuildError('hetzner', what, 'another location with --region, or try later');
  }
  job.note({ [`${wanted.role}-server`]: name });
  for (const place of places) {
    job.detail(`creating ${place.type} in ${place.location}`);
    const id = await createAt(api, job, wanted, place);
    if (id === undefined) continue;
    job.note({ [wanted.role === 'upload' ? 'server' : 'probe']: String(id) });
    return settled(api, id, wanted.start ? 'running' : 'off');
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
  job: Job,
  { role, image, start, more }: Wanted,
  { type, location }: { type: string; location: string },
): Promise<number | undefined> {
  const name = nameOf(job, role);
  return api.call(
    `creating server ${name}`,
    async () => {
      // An earlier attempt may have made it without our hearing of it; uniqueness_error would only tell the same later.
      const [made] = await api.servers({ name });
      if (made) return made.id;
      let begun: { id: number; actions: Action[] } | undefined;
      try {
        begun = await api.createServer({
          name,
          server_type: type,
          image,
          location,
          labels: temporary(job),
          start_after_create: start,
          public_net: { enable_ipv4: true, enable_ipv6: false },
          ...more,
        });
        await api.wait(`creating server ${name}`, ...begun.actions);
        return begun.id;
      } catch (error) {
        // One that isn't whole would be taken for the right one by the next attempt, and is billed.
        if (begun) await api.deleteServer(begun.id);
        // Another place may have what this one lacks. Both codes come from the call, or from its action.
        if (hasCode(error, 'resource_unavailable', 'placement_error')) return undefined;
        throw error;
      }
    },
    job.detail,
  );
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
