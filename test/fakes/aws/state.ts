/** What the fake cloud holds: everything per region, blocks of snapshots on disk. */
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { BLOCK_BYTES } from '../../../src/seal/digest.ts';
import type { Hypervisor, Machine } from '../fake.ts';
import type { Policy } from './policy.ts';
import { ApiError } from './wire.ts';

export const ACCOUNT = '123456789012';
export const GIB = 1024 ** 3;

const ZERO = Buffer.alloc(BLOCK_BYTES);

export type Tags = Map<string, string>;

export interface Snapshot {
  id: string;
  /** GiB. */
  volumeSize: number;
  state: 'pending' | 'completed' | 'error';
  /** CompleteSnapshot has come; so many looks later it is completed. */
  sealed: boolean;
  /** It will be in state `error` then, for this reason. */
  failure: string | undefined;
  looks: number;
  tags: Tags;
  description: string | undefined;
  encrypted: boolean;
  started: Date;
  /** Everything that a volume of it would hold, the parent's blocks included. */
  blocks: Map<number, { file: string; sha256: Buffer }>;
  /** Blocks that were put into this very snapshot. */
  put: Map<number, Buffer>;
}

export interface FakeImage {
  id: string;
  name: string;
  state: string;
  looks: number;
  tags: Tags;
  created: Date;
  deprecated: Date | undefined;
  /** As it was registered. */
  attributes: Record<string, unknown>;
  rootDevice: string;
  /** What it was registered with for the root device, besides the snapshot. */
  rootDisk: Record<string, unknown>;
  isCopy: boolean;
  snapshotId: string;
  reason: string | undefined;
}

export interface FakeInstance {
  id: string;
  imageId: string;
  type: string;
  state: 'pending' | 'running' | 'stopping' | 'stopped' | 'shutting-down' | 'terminated';
  tags: Tags;
  /** When it was first started, and when last. */
  created: Date;
  launched: Date;
  /** Whether its image's root disk goes with it. */
  deletesDisk: boolean;
  volumeId: string;
  groups: string[];
  /** Undefined while it has none: when it is off. */
  address: string | undefined;
  metadata: Record<string, unknown>;
  volumeTags: Tags;
  /** What happens when the machine turns itself off. */
  onShutdown: string;
  machine: Machine;
  disk: string;
  /** RunInstances' own input. */
  asked: Record<string, unknown>;
  userData: string;
  /** What the console held when the machine ended. */
  lastConsole: string;
}

/** One rule of a group: a permission with one source. */
export interface Rule {
  protocol: string;
  from: number | undefined;
  to: number | undefined;
  /** In AWS' canonical form. */
  cidr: string;
}

export interface FakeGroup {
  id: string;
  name: string;
  description: string;
  tags: Tags;
  ingress: Rule[];
}

export interface FakeParameter {
  name: string;
  value: string;
  type: string;
  dataType: string;
  tier: string;
  version: number;
  tags: Tags;
  /** A value of type aws:ec2:image that SSM is still checking: seen after so many reads. */
  next: { value: string; reads: number } | undefined;
}

export interface Region {
  name: string;
  images: Map<string, FakeImage>;
  /** Deregistered: AWS answers differently about them than about what never was. */
  formerImages: Set<string>;
  snapshots: Map<string, Snapshot>;
  instances: Map<string, FakeInstance>;
  /** Security groups of the default VPC, the first of them its own. */
  groups: Map<string, FakeGroup>;
  parameters: Map<string, FakeParameter>;
  /** Token → what was asked with it and what came of it. */
  tokens: Map<string, { asked: string; id: string }>;
  /** ID → images that its versions name, the newest first; for tests of what is in use. */
  launchTemplates: Map<string, string[]>;
}

/** How the cloud behaves; tests may change it at any time. */
export interface Behaviour {
  /** A sealed snapshot, an image, a machine change their state after so many looks. */
  looks: number;
  /** Actions that the caller's role lacks, such as ec2:RegisterImage. */
  denied: Set<string>;
  /** What the caller's role allows; without one, everything. */
  policy: Policy | undefined;
  /** The session token ran out. */
  expired: boolean;
  /** How far the cloud's clock is before ours, milliseconds. */
  skew: number;
  /** The account encrypts all new volumes and snapshots. */
  encryptsByDefault: boolean;
  /** Instance types that can't be had. */
  noCapacity: Set<string>;
  /** The default VPC's subnets give machines public addresses. */
  givesAddresses: boolean;
  /** So often DeleteSecurityGroup is refused after the group's machine has ended, since its interface is still there. */
  interfaceLingers: number;
  /** Most items of a page, whatever was asked for. */
  pageSize: number;
  /** The next image ends as failed. */
  failNextImage: boolean;
  /** CompleteSnapshot takes a wrong count or checksum, and the snapshot fails afterwards. */
  completesBlindly: boolean;
  /** DeregisterImage leaves snapshots, with this code. */
  keepSnapshots: string | undefined;
}

export class State {
  readonly regions = new Map<string, Region>();
  readonly dir: string;
  readonly hypervisor: Hypervisor;
  readonly behaviour: Behaviour;

  constructor(dir: string, hypervisor: Hypervisor, behaviour: Behaviour) {
    this.dir = dir;
    this.hypervisor = hypervisor;
    this.behaviour = behaviour;
  }

  region(name: string): Region {
    const known = this.regions.get(name);
    if (known) return known;
    const region: Region = {
      name,
      images: new Map(),
      formerImages: new Set(),
      snapshots: new Map(),
      instances: new Map(),
      groups: new Map([defaultGroup()].map((group) => [group.id, group])),
      parameters: new Map(),
      tokens: new Map(),
      launchTemplates: new Map(),
    };
    this.regions.set(name, region);
    return region;
  }

  /** Writes a block where its snapshot keeps its own. */
  write(snapshot: Snapshot, index: number, block: Buffer, sha256: Buffer): void {
    const file = join(this.dir, `${snapshot.id}.blocks`);
    const fd = openSync(file, 'a');
    closeSync(fd);
    const out = openSync(file, 'r+');
    writeSync(out, block, 0, block.length, index * BLOCK_BYTES);
    closeSync(out);
    snapshot.blocks.set(index, { file, sha256 });
    snapshot.put.set(index, sha256);
  }

  /** The volume that an instance would get, as a sparse file. @throws Error when a block isn't what was acknowledged. */
  reassemble(snapshot: Snapshot, file: string): void {
    const out = openSync(file, 'w');
    ftruncateSync(out, snapshot.volumeSize * GIB);
    const block = Buffer.alloc(BLOCK_BYTES);
    for (const [index, { file: from, sha256 }] of snapshot.blocks) {
      const source = openSync(from, 'r');
      readSync(source, block, 0, BLOCK_BYTES, index * BLOCK_BYTES);
      closeSync(source);
      if (!createHash('sha256').update(block).digest().equals(sha256)) throw new Error(`the fake lost block ${index}`);
      if (!block.equals(ZERO)) writeSync(out, block, 0, BLOCK_BYTES, index * BLOCK_BYTES);
    }
    closeSync(out);
  }

  /**
   * The same call again gives the same thing; the same token with another call is refused.
   * @param code of the refusal, as the service has it.
   */
  once(region: Region, token: unknown, asked: unknown, refusal: ApiError, make: () => string): string {
    if (typeof token !== 'string') return make();
    const text = JSON.stringify(asked);
    const known = region.tokens.get(token);
    if (known && known.asked !== text) throw refusal;
    if (known) return known.id;
    const id = make();
    region.tokens.set(token, { asked: text, id });
    return id;
  }
}

function defaultGroup(): FakeGroup {
  return {
    id: newId('sg'),
    name: 'default',
    description: 'default VPC security group',
    tags: new Map(),
    ingress: [],
  };
}

export function newId(prefix: string): string {
  return `${prefix}-0${randomBytes(8).toString('hex')}`;
}

export function tagsFrom(tags: unknown): Tags {
  const list = (tags ?? []) as { Key?: string; Value?: string }[];
  for (const { Key } of list)
    if (Key?.startsWith('aws:')) throw new ApiError('InvalidParameterValue', 'tags may not begin with aws:');
  return new Map(list.map(({ Key = '', Value = '' }) => [Key, Value]));
}

export function tagList(tags: Tags): { Key: string; Value: string }[] {
  return [...tags].map(([Key, Value]) => ({ Key, Value }));
}
