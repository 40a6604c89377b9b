/**
 * What publishing asks of a cloud. A cloud is one folder beside this file whose index.ts exports `cloud`; it offers
 * primitives, each of which may be interrupted anywhere and called again with the same job. What is common (proof,
 * journal, order, what to keep) is written once over them, in src/publish.
 */
import type { Check } from '../doctor/check.ts';
import type { Scope } from '../verify/report/schema.ts';

/** The image that is published, by its manifest. */
export interface Published {
  /** Our image ID. */
  id: string;
  /** Base ID, such as debian-13: channels are per base. */
  base: string;
  /** ISO time of the bake. */
  created: string;
  /** SHA-256 of the raw disk, hex. */
  rawSha256: string;
  /** Bytes of the raw disk. */
  rawSize: number;
}

/** The sealed disk as raw bytes, checked against its digest. Read-only. */
export interface RawDisk {
  path: string;
  /** Bytes. */
  size: number;
  /** Index of each 512 KiB block (BLOCK_BYTES) that isn't all zeros → SHA-256, hex. */
  blocks: Readonly<Record<number, string>>;
}

/** An earlier publication in the same region that an upload may build on. */
export interface Parent {
  snapshotId: string;
  /** Bytes of its raw disk. */
  size: number;
  blocks: Readonly<Record<number, string>>;
}

/** One image on its way into one region of one cloud. */
export interface Job {
  /** Label of every resource that comes of this job; the same when the job is resumed. Lower-case letters, digits, dashes; at most 40 characters. */
  readonly run: string;
  readonly region: string;
  readonly image: Published;
  /** What this cloud has noted about the job, in this run or before it was interrupted. */
  readonly notes: Readonly<Record<string, string>>;
  /**
   * Adds to the notes; on disk when it returns. A primitive notes what it is about to make before the call that makes it
   * (with the name or token by which it can be found again), and its ID as soon as it is known.
   */
  note(more: Record<string, string>): void;
  /** What the step is doing, for the person who watches. */
  detail(text: string): void;
}

/** A job that moves bytes. */
export interface UploadJob extends Job {
  /** Opens (unpacks and checks) the disk; costs seconds and gigabytes, so only when it is needed. */
  disk(): Promise<RawDisk>;
  readonly parent: Parent | undefined;
  /** Called as bytes arrive at the cloud: adds to what the progress line shows. */
  sent(bytes: number): void;
  /** How many bytes this upload will send in all, as soon as that is known. */
  expect(bytes: number): void;
}

/** What instances are launched from, in one region. */
export interface Registered {
  /** The ID that a launch names: ami-…, a number at Hetzner, the image's own ID in the local store. */
  imageId: string;
  snapshotId: string;
}

/** One of our images as the cloud itself describes it, by our labels. */
export interface CloudImage extends Registered {
  region: string;
  /** Our image ID. */
  image: string;
  base: string;
  /** First DIGEST_DIGITS hex digits of the raw disk's SHA-256. */
  digest: string;
  run: string;
  /** ISO time. */
  created: string;
  /** Booted and checked: publish sets it after the boot. */
  proven: boolean;
  channels: Channel[];
  /** ISO time since when it is deprecated. */
  deprecated?: string | undefined;
  /** Names of what uses it (instances, templates, parameters that aren't our channels): it isn't removed then. */
  usedBy: string[];
}

/** `candidate`: the newest that was published. `latest`: what launches take. `previous`: what was `latest` before. */
export const CHANNELS = ['candidate', 'latest', 'previous'] as const;
export type Channel = (typeof CHANNELS)[number];

/** A machine that was booted from a published image to look at it; it has our launch.json as user-data. */
export interface Probe {
  /** As the cloud's API names it; the box finds the same in its metadata. */
  instanceId: string;
  /**
   * All that the box has said so far, in the form of its console (src/contract/enrolment.ts); empty while it says nothing.
   * @throws BuildError when the machine is gone or the cloud fails for good.
   */
  transcript(): Promise<string>;
  /** SSH host key (`ssh-ed25519 AAAA…`) that answered where the transcript was read, where it was read by SSH. */
  hostKey?(): string | undefined;
  /** Ends it and removes all that was made for it; may be called twice. */
  remove(): Promise<void>;
}

/** What the probe is started with. */
export interface ProbeInputs {
  /** The whole user-data. Holds a one-time token: never logged, noted or shown. */
  userData: string;
  /** File of the private SSH key whose public half is in the user-data; log in as AGENT.name. */
  sshKey: string;
  /** An empty folder that goes afterwards. */
  work: string;
}

/** Something of ours that no image needs: temporary, or left by a run that was killed. */
export interface Orphan {
  region: string;
  /** `instance`, `snapshot`, `image`, `server`, `ssh-key`, … */
  kind: string;
  id: string;
  run: string;
  /** ISO time, where the cloud tells it. */
  created?: string | undefined;
}

/** What prices go by, in bytes. */
export interface Volume {
  /** That would be sent, into the first region. */
  sent: number;
  /** Of the disk that aren't zero: as much is kept, and copied. */
  held: number;
}

/** One line of a price, for `--plan`. */
export interface Price {
  what: string;
  amount: number;
  currency: 'USD' | 'EUR';
  /** Once, or for each month that the image is kept. */
  per: 'once' | 'month';
}

export interface CloudOptions {
  /** As asked for; empty: the cloud's default. The first is where bytes are uploaded to, the others get copies. */
  regions: string[];
}

export interface Cloud {
  readonly name: string;
  /** The least proof that an image needs to be published here. */
  readonly proof: Scope;
  /** A folder that everybody shares who changes this cloud, whatever their journals: it is locked too. */
  readonly lockDir?: string;
  /** Whether an upload sends only what differs from its parent. */
  readonly incremental?: boolean;
  /** Regions of this session, first the one that is uploaded to. */
  readonly regions: readonly [string, ...string[]];

  /** Credentials and permissions, without changing anything. */
  doctor(): Promise<Check[]>;

  /** List prices, no account's own. */
  price(image: Published, bytes: Volume): Promise<Price[]>;

  /**
   * Brings the disk in. When it returns, the cloud holds the very bytes.
   * @returns how many bytes were sent, in this run.
   */
  upload(job: UploadJob): Promise<{ bytesSent: number }>;

  /** Makes of the uploaded disk what instances are launched from; takes the one that an interrupted run has made. */
  register(job: Job): Promise<Registered>;

  /** The same image in another region; takes the one that an interrupted run has made. */
  copy(job: Job, from: Registered & { region: string }): Promise<Registered>;

  /** Boots the registered image, on a machine of its own that nobody outside reaches but by SSH. */
  boot(job: Job, registered: Registered, inputs: ProbeInputs): Promise<Probe>;

  /** Labels the image as booted and checked. */
  prove(region: string, registered: Registered): Promise<void>;

  /** Every image of this project in a region, whatever its state. */
  list(region: string): Promise<CloudImage[]>;

  /** Points a channel of a base at an image; undefined: at none. Idempotent. Moving never leaves a moment without one. */
  setChannel(region: string, base: string, channel: Channel, to: CloudImage | undefined): Promise<void>;

  /** Marks an image so that nobody starts anew with it; instances go on. */
  deprecate(image: CloudImage): Promise<void>;

  /** Removes an image and its snapshot; what is gone already is fine. */
  remove(image: CloudImage): Promise<void>;

  /** All that our labels are on and that isn't a whole image of `list`: probes, keys, servers, half-made snapshots. */
  orphans(region: string): Promise<Orphan[]>;

  removeOrphan(orphan: Orphan): Promise<void>;

  /** Ends connections. */
  close(): void;
}

/** What a cloud's index.ts exports as `cloud`. */
export type OpenCloud = (options: CloudOptions) => Promise<Cloud>;

/** Keys of the labels that are on everything this project makes in a cloud. */
export const LABELS = {
  /** Always `clawdy-image`: whose it is. */
  owner: 'clawdy-owner',
  run: 'clawdy-run',
  image: 'clawdy-image',
  base: 'clawdy-base',
  digest: 'clawdy-digest',
  /** `yes` after the boot. */
  proven: 'clawdy-proven',
  /** `yes` on what is only there for a while. */
  temporary: 'clawdy-temporary',
  /** `yes` on what came of a launch, which publishing leaves alone. */
  launched: 'clawdy-launched',
} as const;

/** No cloud's label is too short for that: Hetzner's have 63 characters, the whole has 64. */
export const DIGEST_DIGITS = 32;

export const OWNER = 'clawdy-image';

/** The labels of everything that comes of a job. */
export function labelsOf({ run, image }: Pick<Job, 'run' | 'image'>): Record<string, string> {
  return {
    [LABELS.owner]: OWNER,
    [LABELS.run]: run,
    [LABELS.image]: image.id,
    [LABELS.base]: image.base,
    [LABELS.digest]: image.rawSha256.slice(0, DIGEST_DIGITS),
  };
}
