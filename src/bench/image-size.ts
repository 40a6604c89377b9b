import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type ImageManifest, readImage } from '../manifest/image.ts';
import { checkPath, loadLayers } from '../manifest/layers.ts';
import { workFolder } from '../plan/work-folder.ts';
import { BuildError } from '../process/errors.ts';
import type { Progress } from '../process/progress.ts';
import { run } from '../process/run.ts';
import { rawDisk, rootOf } from '../seal/closed-disk.ts';
import { breakDown, type ImageSize, merged, parseFiles, sum } from './size.ts';

const STEP = 'bench';
/** A block of stat(2)'s `st_blocks`, bytes. */
const STAT_BLOCK = 512;

/**
 * Measures an image: its disk in three ways, and what its files are, by files.tsv and the disk's own package database.
 *
 * @param root the project; its layers say which files are ours.
 * @param dir the image's folder.
 */
export async function imageSize(root: string, dir: string, progress: Progress): Promise<ImageSize> {
  const image = readImage(dir);
  const files = parseFiles(readFileSync(join(dir, 'files.tsv'), 'utf8'));
  const { allocated, owners } = await progress.step('read the disk', () => readDisk(dir, image));
  const parts = breakDown(files, owners, ourPaths(root));
  const bytes = sum(files, ({ size }) => size);
  const { id, disk } = image;
  return { id, raw: disk.rawSize, allocated, qcow2: disk.qcow2Size, bytes, files: files.length, parts };
}

/** Paths that the layers declare; what apply.sh makes of them beside is in no package. */
function ourPaths(root: string): Set<string> {
  return new Set(
    loadLayers(root).flatMap((layer) => [
      ...Object.keys(layer.overlay),
      ...layer.checks.map(({ kind, file }) => checkPath(layer, kind, file)),
    ]),
  );
}

async function readDisk(
  dir: string,
  image: ImageManifest,
): Promise<{ allocated: number; owners: Map<string, string> }> {
  const { work, remove } = workFolder('bench-size');
  try {
    const raw = await rawDisk(dir, image, work);
    const allocated = statSync(raw).blocks * STAT_BLOCK;
    return { allocated, owners: await packageFiles(raw, work) };
  } finally {
    remove();
  }
}

/** Package by path, from dpkg's lists on a closed raw disk. */
async function packageFiles(raw: string, work: string): Promise<Map<string, string>> {
  const root = await rootOf(raw);
  // debugfs says on standard error what it couldn't do, and ends well all the same.
  await run('debugfs', ['-R', `rdump /var/lib/dpkg/info "${work}"`, `${raw}?offset=${root.start}`], { step: STEP });
  const info = join(work, 'info');
  const owners = new Map<string, string>();
  for (const name of readdirSync(info).filter((file) => file.endsWith('.list'))) {
    const owner = name.replace(/(:[a-z0-9]+)?\.list$/, '');
    for (const path of readFileSync(join(info, name), 'utf8').split('\n')) owners.set(merged(path), owner);
  }
  if (!owners.size) throw new BuildError(STEP, "dpkg's lists couldn't be read", 'is e2fsprogs (debugfs) installed?');
  return owners;
}
