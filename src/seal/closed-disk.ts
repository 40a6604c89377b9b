import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { LAYOUT } from '../bake/disk-layout.ts';
import { type Partition, readPartitions } from '../bake/partitions.ts';
import type { ImageManifest } from '../manifest/image.ts';
import { BuildError } from '../process/errors.ts';
import { run } from '../process/run.ts';
import { digestDisk } from './digest.ts';

/**
 * A finished image's disk as raw bytes: those that were hashed when it was sealed.
 *
 * @param imageDir the image's folder.
 * @param into where the raw disk goes; sparse, but as long as the disk.
 * @returns its path.
 * @throws BuildError where the digest is another one: the file was changed since.
 */
export async function rawDisk(imageDir: string, image: ImageManifest, into: string): Promise<string> {
  const raw = await unpack(imageDir, into);
  const hash = createHash('sha256');
  await pipeline(createReadStream(raw, { highWaterMark: 4 << 20 }), hash);
  if (hash.digest('hex') !== image.disk.rawSha256) throw changed(image);
  return raw;
}

/**
 * The same with the digest of each block, taken from the disk itself: whoever sends blocks by a list sends what it lists.
 * @throws BuildError where the digest is another one.
 */
export async function rawDiskBlocks(
  imageDir: string,
  image: ImageManifest,
  into: string,
): Promise<{ path: string; size: number; blocks: Record<number, string> }> {
  const path = await unpack(imageDir, into);
  const { raw, size, blocks } = await digestDisk(path, []);
  if (raw !== image.disk.rawSha256) throw changed(image);
  return { path, size, blocks };
}

async function unpack(imageDir: string, into: string): Promise<string> {
  const raw = join(into, 'disk.raw');
  await run('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', join(imageDir, 'disk.qcow2'), raw], { step: 'disk' });
  return raw;
}

function changed({ id }: ImageManifest): BuildError {
  return new BuildError('disk', `${id}: disk.qcow2 is not the disk that was sealed`, 'make bake ARGS=--force');
}

/** The largest of the file systems that aren't the state's: a vendor's /boot may be one of its own. */
export async function rootOf(raw: string): Promise<Partition> {
  const [root] = (await readPartitions(raw, 'disk'))
    .filter(({ label }) => label !== undefined && label !== LAYOUT.state.label)
    .sort((a, b) => b.size - a.size);
  if (!root) throw new BuildError('disk', 'it has no root file system', 'is it an image of this project?');
  return root;
}
