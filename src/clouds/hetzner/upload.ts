import { readFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { workFolder } from '../../plan/work-folder.ts';
import { BuildError } from '../../process/errors.ts';
import { BLOCK_BYTES } from '../../seal/digest.ts';
import { type Job, LABELS, type RawDisk, type UploadJob } from '../cloud.ts';
import type { HetznerApi } from './api.ts';
import { HetznerError } from './errors.ts';
import { dropServers, makeServer, nameOf, settled, temporary, type Wanted } from './servers.ts';
import { snapshotsOf } from './snapshots.ts';
import { makeKey, Ssh } from './ssh.ts';

const PIECE_BYTES = 1024 * 1024;
/** The rescue system answers after 20 to 60 s. */
const RESCUE_LIMIT_MS = 6 * 60_000;
/** Hetzner's disks write hundreds of MB a second; a network that gives nothing for two minutes is gone. */
const STALL_LIMIT_MS = 2 * 60_000;
/** Reading 40 GB at 30 MB/s. */
const DIGEST_LIMIT_MS = 25 * 60_000;

const script = (name: string) => readFileSync(join(import.meta.dirname, 'rescue', `${name}.sh`), 'utf8');

/**
 * Writes the disk onto a new server's own from Hetzner's rescue system, reads it back, and leaves the server off. Hetzner
 * takes no images, only snapshots of servers; the rescue system's memory (960 MB) can't hold an image, so it is streamed.
 *
 * A server that isn't known to be wholly written is deleted and made anew: what was half written isn't worth a check.
 */
export async function upload(api: HetznerApi, job: UploadJob): Promise<{ bytesSent: number }> {
  if (await isWritten(api, job)) return { bytesSent: 0 };
  await drop(api, job);
  // Before anything is made: opening checks the disk.
  const disk = await job.disk();
  // The key in it goes with the process; what a killed one left goes with the next.
  const { work, remove } = workFolder('upload');
  try {
    const bytesSent = await write(api, job, disk, work);
    job.note({ written: job.image.rawSha256 });
    return { bytesSent };
  } catch (error) {
    // It costs money until it is deleted. Tried once: where this fails too, the next run or a sweep does it.
    await Promise.allSettled([forgetServer(api, job), forgetKeys(api, job)]);
    throw error;
  } finally {
    remove();
  }
}

/** Takes away what `upload` left for `register`, or an interrupted run: server and key. */
export async function drop(api: HetznerApi, job: Job): Promise<void> {
  await dropServers(api, job, 'upload');
  await api.call('deleting the temporary SSH key', () => forgetKeys(api, job));
}

/** What may happen to a server after its disk was read back: it is switched off, and its snapshot taken. */
const HARMLESS = ['stop_server', 'shutdown_server', 'create_image'];

/**
 * The server of a finished upload, while it is there and off, and nobody has started it since: one that was has booted what was
 * written, and has changed it.
 * @throws HetznerError `locked` while an action runs on it: it passes, and whoever asks looks at everything anew then.
 */
export async function writtenServer(api: HetznerApi, job: Job): Promise<number | undefined> {
  const { written, server: id, 'last-action': last } = job.notes;
  if (written !== job.image.rawSha256 || last === undefined) return undefined;
  const found = await api.servers({ name: nameOf(job, 'upload') });
  const server = found.find((one) => String(one.id) === id);
  if (server?.locked) throw new HetznerError('locked', `server ${server.id} is locked`, 423);
  if (server?.status !== 'off') return undefined;
  const since = (await api.serverActions(server.id)).filter((action) => action.id > Number(last));
  return since.every(({ command }) => HARMLESS.includes(command)) ? server.id : undefined;
}

async function isWritten(api: HetznerApi, job: Job): Promise<boolean> {
  // The snapshot is made of a server whose disk was read back, so that it says the same.
  if ((await snapshotsOf(api, job)).length > 0) return true;
  return (await api.call('looking for the written server', () => writtenServer(api, job))) !== undefined;
}

async function write(api: HetznerApi, job: UploadJob, disk: RawDisk, work: string): Promise<number> {
  const key = await makeKey(work);
  const name = nameOf(job, 'upload');
  job.note({ 'ssh-key': name });
  const sshKey = await api.call('uploading a temporary SSH key', async () => {
    const [made] = await api.sshKeys({ name });
    return made ?? (await api.createSshKey(name, key.publicKey, temporary(job)));
  });
  const image = await anySystem(api);
  const diskGb = Math.ceil(job.image.rawSize / 1e9);
  // With a key Hetzner makes up no root password, and mails none.
  const wanted: Wanted = { role: 'upload', image, diskGb, start: false, more: { ssh_keys: [sshKey.id] } };
  const { id } = await makeServer(api, job, wanted);
  job.detail('starting the rescue system');
  const address = await rescue(api, id, sshKey.id);
  const ssh = new Ssh({ address, port: 22, user: 'root', key: key.file, work });
  await api.until(
    'waiting for the rescue system to answer by SSH',
    async () => ((await ssh.ask('echo here', 30_000))?.startsWith('here') ? true : undefined),
    RESCUE_LIMIT_MS,
  );
  await ssh.script(script('prepare'), [String(disk.size)], { timeout: 5 * 60_000 });
  const bytes = await send(ssh, job, disk);
  const actions = await api.call(`reading the actions of server ${id}`, () => api.serverActions(id));
  job.note({ 'last-action': String(Math.max(...actions.map((action) => action.id))) });
  await readBack(ssh, job, disk);
  job.detail('switching the server off');
  await api.call(`switching server ${id} off`, async () => {
    if ((await api.server(id))?.status === 'off') return;
    await api.wait(`switching server ${id} off`, await api.powerOff(id));
  });
  await settled(api, id, 'off');
  return bytes;
}

/** Which image a server begins with doesn't matter: its bytes are discarded. The newest Debian is small. */
async function anySystem(api: HetznerApi): Promise<string> {
  const images = await api.call('looking for a system image', () =>
    api.images({ type: 'system', architecture: 'x86', status: 'available' }),
  );
  const usable = images.filter(
    ({ name, deprecated, type }) => name !== null && deprecated === null && type === 'system',
  );
  const [best] = usable.sort(
    (a, b) =>
      Number(b.os_flavor === 'debian') - Number(a.os_flavor === 'debian') ||
      a.disk_size - b.disk_size ||
      b.created.localeCompare(a.created),
  );
  if (best?.name) return best.name;
  throw new BuildError('hetzner', 'the project sees no system image to make a server of', 'look at it in the console');
}

/** @returns the address at which the rescue system will answer. */
async function rescue(api: HetznerApi, id: number, sshKey: number): Promise<string> {
  // Both may be asked for again when an answer is lost; what is so already isn't done twice.
  await api.call('enabling the rescue system', async () => {
    if ((await api.server(id))?.rescueEnabled) return;
    await api.wait('enabling the rescue system', await api.enableRescue(id, sshKey));
  });
  await api.call(`starting server ${id}`, async () => {
    if ((await api.server(id))?.status !== 'off') return;
    await api.wait(`starting server ${id}`, await api.powerOn(id));
  });
  const address = (await settled(api, id, 'running')).publicNet.ipv4.ip;
  if (address) return address;
  throw new BuildError('hetzner', `server ${id} has no public IPv4 address`, 'has the project used up its addresses?');
}

/** Only blocks that aren't all zeros: the disk was emptied. @returns bytes sent. */
async function send(ssh: Ssh, job: UploadJob, disk: RawDisk): Promise<number> {
  const runs = runsOf(disk);
  const total = runs.reduce((sum, { bytes }) => sum + bytes, 0);
  job.expect(total);
  job.detail('writing');
  const handle = await open(disk.path, 'r');
  try {
    const source = Readable.from(piecesOf(handle, runs, job.sent), { objectMode: false });
    await ssh.feed(script('write'), [String(BLOCK_BYTES)], source, STALL_LIMIT_MS);
  } finally {
    await handle.close();
  }
  return total;
}

interface Run {
  /** Index of its first block. */
  first: number;
  count: number;
  bytes: number;
}

/** Neighbouring blocks that hold something. */
export function runsOf({ blocks, size }: Pick<RawDisk, 'blocks' | 'size'>): Run[] {
  const runs: Run[] = [];
  for (const index of Object.keys(blocks)
    .map(Number)
    .sort((a, b) => a - b)) {
    const last = runs.at(-1);
    if (last && last.first + last.count === index) last.count++;
    else runs.push({ first: index, count: 1, bytes: 0 });
  }
  for (const run of runs) run.bytes = Math.min(run.count * BLOCK_BYTES, size - run.first * BLOCK_BYTES);
  return runs;
}

/** The form that rescue/write.sh reads. */
async function* piecesOf(handle: FileHandle, runs: Run[], sent: (bytes: number) => void): AsyncGenerator<Buffer> {
  for (const { first, count, bytes } of runs) {
    yield Buffer.from(`${first} ${count}\n`);
    for (let at = 0; at < bytes; ) {
      const piece = Buffer.allocUnsafe(Math.min(PIECE_BYTES, bytes - at));
      const { bytesRead } = await handle.read(piece, 0, piece.length, first * BLOCK_BYTES + at);
      if (bytesRead === 0) throw new Error('the disk is shorter than its digests say');
      yield piece.subarray(0, bytesRead);
      at += bytesRead;
      sent(bytesRead);
    }
  }
}

/** @throws BuildError unless the server's disk begins with the very bytes that were verified. */
async function readBack(ssh: Ssh, job: UploadJob, disk: RawDisk): Promise<void> {
  job.detail('reading back');
  const { stdout } = await ssh.script(script('digest'), [String(disk.size)], { timeout: DIGEST_LIMIT_MS });
  const found = /^([0-9a-f]{64})\s/.exec(stdout)?.[1];
  if (found === job.image.rawSha256) return;
  throw new BuildError(
    'hetzner',
    `the server's disk reads back as ${found ?? 'nothing'}, the image is ${job.image.rawSha256}`,
    'publish again: it begins with a new server',
  );
}

async function forgetServer(api: HetznerApi, job: Job): Promise<void> {
  for (const { id } of await api.servers({ name: nameOf(job, 'upload') })) await api.deleteServer(id);
}

async function forgetKeys(api: HetznerApi, job: Job): Promise<void> {
  const label_selector = `${LABELS.run}==${job.run},${LABELS.temporary}==yes`;
  for (const { id } of await api.sshKeys({ label_selector })) await api.deleteSshKey(id);
}
