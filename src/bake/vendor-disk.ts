import { stat, truncate } from 'node:fs/promises';
import type { VendorBase } from '../base/bases.ts';
import { rawVendorImage, type VendorImage } from '../base/vendor.ts';
import { BuildError } from '../process/errors.ts';
import { run } from '../process/run.ts';
import { makeStateFileSystem } from './disk.ts';
import { LAYOUT, MiB } from './disk-layout.ts';
import { labelled, readPartitions } from './partitions.ts';

/** Clouds count volumes in whole GiB. */
const GiB = 1024 * MiB;
/** Room that the state partition has before it grows, about what a bootstrapped base has. */
const STATE_MIN = 512 * MiB;
const SECTOR = 512;

/**
 * Gives a vendor's finished disk our shape: the root, which the vendor has last so that it grows, gets a fixed size, and
 * behind it comes the partition that grows instead. Every other partition stays where it is: boot loaders hold block
 * numbers. The root's file system grows into its partition in the guest (packer/prepare.sh).
 *
 * @param image is only read.
 * @param raw the disk to write.
 * @param uuidSeed 32 hex digits for the state's file system id.
 */
export async function reshapeVendorDisk(
  base: VendorBase,
  image: VendorImage,
  raw: string,
  uuidSeed: string,
  log: string,
): Promise<void> {
  await rawVendorImage(image, raw, log);
  const partitions = await readPartitions(raw, 'disk');
  const root = labelled(partitions, base.rootLabel, 'disk');
  if (partitions.at(-1) !== root)
    throw unfit(`${base.rootLabel} isn't the last partition, so it can't be given a size`);
  const rootSize = base.rootMiB * MiB;
  if (root.size > rootSize) throw unfit(`its root has ${root.size / MiB} MiB already, the base says ${base.rootMiB}`);
  const state = Math.ceil((root.start + rootSize) / MiB) * MiB;
  // One MiB stays free at the end for the backup GPT.
  const size = Math.ceil((state + STATE_MIN + MiB) / GiB) * GiB;
  const { size: was } = await stat(raw);
  if (was > size) throw unfit(`it is a disk of ${was / MiB} MiB; with its root at ${base.rootMiB} it would be smaller`);
  await truncate(raw, size);
  const { label, type } = LAYOUT.state;
  // 0: the first free number, and then the same one again (sgdisk(8)).
  const added = [`--new=0:${state / SECTOR}:${(size - MiB) / SECTOR - 1}`, `--change-name=0:${label}`];
  await run('sgdisk', ['--move-second-header', raw], { step: 'disk', log });
  await run('sfdisk', ['--no-reread', '--no-tell-kernel', '-N', String(root.number), raw], {
    step: 'disk',
    log,
    input: `,${rootSize / SECTOR}\n`,
  });
  await run('sgdisk', [...added, `--typecode=0:${type}`, raw], { step: 'disk', log });
  await makeStateFileSystem(raw, state, size - MiB - state, uuidSeed, log);
}

function unfit(why: string): BuildError {
  return new BuildError('disk', `the vendor's disk doesn't fit: ${why}`, 'mend rootMiB of the base');
}
