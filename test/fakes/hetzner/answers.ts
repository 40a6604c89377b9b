import type { Rule } from './rules.ts';

/**
 * Answers in today's form (test/fakes/hetzner/requests.ts says where it is described): no server.datacenter,
 * image.deleted, server_type.deprecated beside deprecation, next_actions, meta.pagination.
 */

export interface Action {
  id: number;
  command: string;
  status: 'running' | 'success' | 'error';
  started: Date;
  finished: Date | undefined;
  resources: { id: number; type: string }[];
  error: { code: string; message: string } | undefined;
}

export interface SshKey {
  id: number;
  name: string;
  publicKey: string;
  fingerprint: string;
  labels: Record<string, string>;
  created: Date;
}

export interface Image {
  id: number;
  type: 'system' | 'snapshot';
  status: 'creating' | 'available' | 'unavailable';
  name: string | null;
  description: string;
  diskGb: number;
  imageGb: number | null;
  labels: Record<string, string>;
  created: Date;
  createdFrom: { id: number; name: string } | null;
  flavor: string;
  version: string | null;
  /** Its bytes, of a snapshot. */
  file: string | undefined;
}

export interface Server {
  id: number;
  name: string;
  status: 'initializing' | 'starting' | 'running' | 'stopping' | 'off' | 'deleting';
  type: ServerType;
  location: Location;
  image: Image;
  labels: Record<string, string>;
  created: Date;
  /** Of the action that holds it. */
  lockedBy: number | undefined;
  /** Public keys that the next start's rescue system takes. */
  rescueKeys: string[] | undefined;
  userData: string;
  address: string | null;
  /** A /64. */
  network: string | null;
  firewalls: { id: number; status: 'pending' | 'applied' }[];
  disk: string;
  /** Ends what runs on it. */
  stop: (() => Promise<void>) | undefined;
}

export interface Firewall {
  id: number;
  name: string;
  labels: Record<string, string>;
  created: Date;
  rules: Rule[];
  lockedBy: number | undefined;
  /** When the last server that is gone left it; milliseconds of the epoch. */
  leftAt: number;
}

export interface Location {
  id: number;
  name: string;
  city: string;
  zone: string;
}

export interface ServerType {
  id: number;
  name: string;
  architecture: 'x86' | 'arm';
  cpu: 'shared' | 'dedicated';
  diskGb: number;
  cores: number;
  memory: number;
  /** Net euros. */
  hourly: string;
}

export const LOCATIONS: Location[] = [
  { id: 1, name: 'fsn1', city: 'Falkenstein', zone: 'eu-central' },
  { id: 2, name: 'nbg1', city: 'Nuremberg', zone: 'eu-central' },
  { id: 3, name: 'hel1', city: 'Helsinki', zone: 'eu-central' },
  { id: 4, name: 'ash', city: 'Ashburn, VA', zone: 'us-east' },
];

/** Not in order of size, and with the wrong architecture first: a client that doesn't look takes the wrong one. */
export const SERVER_TYPES: ServerType[] = [
  { id: 45, name: 'cax11', architecture: 'arm', cpu: 'shared', diskGb: 40, cores: 2, memory: 4, hourly: '0.0053' },
  { id: 109, name: 'cpx32', architecture: 'x86', cpu: 'shared', diskGb: 160, cores: 4, memory: 8, hourly: '0.0176' },
  { id: 114, name: 'cx23', architecture: 'x86', cpu: 'shared', diskGb: 40, cores: 2, memory: 4, hourly: '0.0056' },
  { id: 115, name: 'cx33', architecture: 'x86', cpu: 'shared', diskGb: 80, cores: 4, memory: 8, hourly: '0.0088' },
];

const gross = (net: string) => ({ net, gross: (Number(net) * 1.19).toFixed(10) });
const time = (date: Date | undefined) => (date ? `${date.toISOString().slice(0, 19)}+00:00` : null);

export function action(it: Action) {
  return {
    id: it.id,
    command: it.command,
    status: it.status,
    progress: it.status === 'running' ? 50 : 100,
    started: time(it.started),
    finished: time(it.finished),
    resources: it.resources,
    error: it.error ?? null,
  };
}

export function sshKey(it: SshKey) {
  const { id, name, fingerprint, labels } = it;
  return { id, name, fingerprint, public_key: it.publicKey, labels, created: time(it.created) };
}

export function image(it: Image) {
  return {
    id: it.id,
    type: it.type,
    status: it.status,
    name: it.name,
    description: it.description,
    image_size: it.imageGb,
    disk_size: it.diskGb,
    created: time(it.created),
    created_from: it.createdFrom,
    bound_to: null,
    os_flavor: it.flavor,
    os_version: it.version,
    rapid_deploy: it.type === 'system',
    protection: { delete: false },
    deprecated: null,
    deleted: null,
    labels: it.labels,
    architecture: 'x86',
  };
}

export function location(it: Location) {
  return {
    id: it.id,
    name: it.name,
    description: `${it.city} DC Park 1`,
    country: it.zone.startsWith('us') ? 'US' : 'DE',
    city: it.city,
    latitude: 50.47612,
    longitude: 12.370071,
    network_zone: it.zone,
  };
}

export function serverType(it: ServerType) {
  return {
    id: it.id,
    name: it.name,
    description: it.name.toUpperCase(),
    category: 'Shared vCPU',
    cores: it.cores,
    memory: it.memory,
    disk: it.diskGb,
    architecture: it.architecture,
    cpu_type: it.cpu,
    storage_type: 'local',
    deprecated: false,
    deprecation: null,
    prices: LOCATIONS.map(({ name }) => ({
      location: name,
      price_hourly: gross(it.hourly),
      price_monthly: gross((Number(it.hourly) * 624).toFixed(4)),
      included_traffic: 21990232555520,
      price_per_tb_traffic: gross('1.0000'),
    })),
    locations: LOCATIONS.map(({ id, name }) => ({
      id,
      name,
      deprecation: null,
      available: true,
      recommended: false,
    })),
  };
}

export function server(it: Server) {
  return {
    id: it.id,
    name: it.name,
    status: it.status,
    created: time(it.created),
    public_net: {
      ipv4: it.address === null ? null : { id: it.id + 1, ip: it.address, blocked: false, dns_ptr: 'static.example' },
      ipv6: it.network === null ? null : { id: it.id + 2, ip: it.network, blocked: false, dns_ptr: [] },
      floating_ips: [],
      firewalls: it.firewalls,
    },
    private_net: [],
    server_type: serverType(it.type),
    location: location(it.location),
    image: image(it.image),
    iso: null,
    rescue_enabled: it.rescueKeys !== undefined,
    locked: it.lockedBy !== undefined,
    backup_window: null,
    outgoing_traffic: 0,
    ingoing_traffic: 0,
    included_traffic: 21990232555520,
    protection: { delete: false, rebuild: false },
    labels: it.labels,
    volumes: [],
    load_balancers: [],
    primary_disk_size: it.type.diskGb,
    placement_group: null,
  };
}

export function firewall(it: Firewall, behind: Server[]) {
  const whole = ({ source_ips = [], destination_ips = [], port, description, ...rule }: Rule) => {
    return { ...rule, source_ips, destination_ips, port: port ?? null, description: description ?? null };
  };
  return {
    id: it.id,
    name: it.name,
    labels: it.labels,
    created: time(it.created),
    rules: it.rules.map(whole),
    applied_to: behind.map(({ id }) => ({ type: 'server', server: { id } })),
  };
}

export function pricing() {
  const perLocation = (net: string) =>
    LOCATIONS.map(({ name }) => ({ location: name, price_hourly: gross(net), price_monthly: gross(net) }));
  return {
    currency: 'EUR',
    vat_rate: '19.00',
    image: { price_per_gb_month: gross('0.0110') },
    floating_ip: { price_monthly: gross('3.0000') },
    floating_ips: [],
    primary_ips: [{ type: 'ipv4', prices: perLocation('0.0008') }],
    server_backup: { percentage: '20.00' },
    server_types: SERVER_TYPES.map(({ id, name, hourly }) => ({ id, name, prices: perLocation(hourly) })),
    load_balancer_types: [],
    volume: { price_per_gb_month: gross('0.0440') },
  };
}
