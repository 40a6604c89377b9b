/** What the tests of AWS share: a fake, a disk, jobs that note, and a machine that only repeats what it was given. */
import { createCipheriv, createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, openSync, readSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { openAws } from '../../src/clouds/aws/index.ts';
import { TIMES, type Times } from '../../src/clouds/aws/times.ts';
import type { Cloud, Parent, Published, RawDisk, UploadJob } from '../../src/clouds/cloud.ts';
import { BLOCK_BYTES, digestDisk } from '../../src/seal/digest.ts';
import { type FakeAws, startFakeAws } from '../fakes/aws/index.ts';
import type { Hypervisor } from '../fakes/fake.ts';

export const REGION = 'eu-central-1';
export const MIB = 1024 ** 2;

/** The production's waits, a hundred times as fast where the cloud makes us wait; what a test looks at it sets itself. */
export const FAST: Times = { ...TIMES, minPause: 5, maxPause: 50, poll: 5, maxPoll: 20, note: 0 };

/** Not a machine: says what a test needs of one, the first bytes of the disk that it was given. */
export const echo: Hypervisor = {
  boot: async ({ disk, instanceId }) => {
    const head = Buffer.alloc(16);
    readSync(openSync(disk, 'r'), head, 0, 16, 0);
    return { console: () => `instance ${instanceId}, disk ${head.toString('hex')}\n`, off: async () => {} };
  },
};

/** An empty folder that goes with this process: disks and blocks of a whole run are hundreds of megabytes. */
export function folder(): string {
  const made = mkdtempSync(join(tmpdir(), 'clawdy-aws-'));
  process.once('exit', () => rmSync(made, { recursive: true, force: true }));
  return made;
}

process.setMaxListeners(0);

/** What this process has written since the fake was started, on both outputs: the SDK's own warnings, ours. */
export const output: string[] = [];

function listen(): () => void {
  output.length = 0;
  const streams = [process.stdout, process.stderr].map((stream) => ({ stream, write: stream.write }));
  for (const { stream, write } of streams)
    stream.write = ((chunk: string | Uint8Array, ...rest: never[]) => {
      output.push(String(chunk));
      return write.call(stream, chunk, ...rest);
    }) as typeof stream.write;
  return () => {
    for (const { stream, write } of streams) stream.write = write;
  };
}

/** Its environment is this process' own, as it would be of anybody who publishes. */
export async function fakeAws(t: ExecutionContext, hypervisor: Hypervisor = echo): Promise<FakeAws> {
  const fake = await startFakeAws({ hypervisor, dir: folder(), region: REGION });
  for (const key of Object.keys(process.env)) if (key.startsWith('AWS_')) delete process.env[key];
  Object.assign(process.env, fake.env);
  t.teardown(() => fake.close());
  t.teardown(listen());
  return fake;
}

export async function openCloud(
  t: ExecutionContext,
  times: Partial<Times> = {},
  regions: string[] = [],
): Promise<Cloud> {
  const cloud = await openAws({ regions }, { ...FAST, ...times });
  t.teardown(() => cloud.close());
  return cloud;
}

export interface TestDisk extends RawDisk {
  rawSha256: string;
}

/** A sparse disk: 15 blocks of random bytes among zeros, and a tail that isn't a whole block. */
export async function disk(
  change: (write: (block: number, bytes: Buffer) => void) => void = () => {},
  size = 64 * MIB + 1000,
): Promise<TestDisk> {
  const path = join(folder(), 'disk.raw');
  writeFileSync(path, '');
  truncateSync(path, size);
  const fd = openSync(path, 'r+');
  const write = (block: number, bytes: Buffer) => void writeSync(fd, bytes, 0, bytes.length, block * BLOCK_BYTES);
  for (const block of [0, 1, 2, 5, 8, 13, 21, 34, 55, 89, 100, 110, 120, 127]) write(block, seeded(block));
  write(128, seeded(128).subarray(0, 1000));
  change(write);
  const { raw, blocks } = await digestDisk(path, []);
  return { path, size, blocks, rawSha256: raw };
}

/** Bytes that look random and are the same each time. */
export function seeded(seed: number): Buffer {
  const key = createHash('sha256').update(String(seed)).digest();
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(BLOCK_BYTES));
}

export interface TestJob extends UploadJob {
  notes: Record<string, string>;
  told: string[];
  /** Bytes that were reported as sent, and as to be sent. */
  progress: { sent: number; expected: number };
}

export function imageOf(disk: TestDisk, id = 'debian-13-20261125t120000z-abcdef'): Published {
  return { id, base: 'debian-13', created: '2026-11-25T12:00:00.000Z', rawSha256: disk.rawSha256, rawSize: disk.size };
}

export function jobOf(
  disk: TestDisk,
  more: { image?: string; parent?: Parent; notes?: Record<string, string>; region?: string; run?: string } = {},
): TestJob {
  const notes = more.notes ?? {};
  const told: string[] = [];
  const progress = { sent: 0, expected: 0 };
  return {
    run: more.run ?? `run-${randomBytes(4).toString('hex')}`,
    region: more.region ?? REGION,
    image: imageOf(disk, more.image),
    notes,
    note: (added) => Object.assign(notes, added),
    detail: (text) => void told.push(text),
    disk: async () => disk,
    parent: more.parent,
    sent: (bytes) => {
      progress.sent += bytes;
    },
    expect: (bytes) => {
      progress.expected = bytes;
    },
    told,
    progress,
  };
}

/** Uploads and registers, as publish does. */
export async function publish(cloud: Cloud, job: TestJob) {
  const { bytesSent } = await cloud.upload(job);
  return { bytesSent, ...(await cloud.register(job)) };
}

/** A job as another process would take it up: what was noted, and nothing else. */
export function resumed(job: TestJob, disk: TestDisk): TestJob {
  return jobOf(disk, {
    notes: { ...job.notes },
    run: job.run,
    region: job.region,
    image: job.image.id,
    ...(job.parent && { parent: job.parent }),
  });
}

/** What a probe is started with; the user-data must show nowhere. */
export const probeInputs = () => ({
  userData: '#cloud-config\nsecret: one-time-token-of-the-probe\n',
  sshKey: '/dev/null',
  work: folder(),
});
