import { existsSync, readdirSync, realpathSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { listRecords } from '../launch/records.ts';
import { imageId, readImage } from '../manifest/image.ts';
import { has, run } from '../process/run.ts';

/**
 * Removes images of this machine that nights have left: of each base all but the newest `keep`, those that are needed, and the bases
 * of local instances' disks; and what containers were made of.
 * @param needed IDs that stay in any case.
 * @returns what was removed.
 */
export async function tidy(root: string, keep: number, needed: string[], log: string): Promise<string[]> {
  const dist = join(root, 'dist');
  const { records, faults } = listRecords();
  // A record that can't be read may be of an instance whose disk needs any of them.
  const gone = faults.length ? [] : doomedImages(dist, keep, [...needed, ...records.map((one) => one.image_id)]);
  for (const id of gone) rmSync(join(dist, id), { recursive: true, force: true });
  return [...gone, ...(await removeTrees(keep, log))];
}

/** IDs in `dist`, oldest first. */
export function doomedImages(dist: string, keep: number, needed: string[]): string[] {
  if (!existsSync(dist)) return [];
  const names = readdirSync(dist, { withFileTypes: true });
  const links = names.filter((entry) => entry.isSymbolicLink()).map(({ name }) => join(dist, name));
  const stay = new Set([
    ...needed,
    ...links.filter((link) => existsSync(link)).map((link) => basename(realpathSync(link))),
  ]);
  const images = names
    .filter((entry) => entry.isDirectory() && imageId.safeParse(entry.name).success)
    .filter(({ name }) => existsSync(join(dist, name, 'manifest.json')))
    .map(({ name }) => readImage(join(dist, name)))
    .sort((one, other) => other.created.localeCompare(one.created));
  const seen = new Map<string, number>();
  return images
    .filter(({ id, base }) => {
      const rank = (seen.get(base.id) ?? 0) + 1;
      seen.set(base.id, rank);
      return rank > keep && !stay.has(id);
    })
    .map(({ id }) => id)
    .reverse();
}

/** Docker's copies of images' trees, a gigabyte each, but the newest; the verifier makes again what it misses. */
async function removeTrees(keep: number, log: string): Promise<string[]> {
  if (!(await has('docker'))) return [];
  const words = ['images', '--format', '{{.CreatedAt}}\t{{.Repository}}:{{.Tag}}', 'clawdy-tree'];
  const { stdout } = await run('docker', words, { step: 'tidy', ok: [0, 1], log });
  const old = stdout
    .split('\n')
    .filter(Boolean)
    .sort()
    .reverse()
    .slice(keep)
    .map((row) => row.split('\t')[1] as string);
  // One that a container of somebody's uses stays.
  for (const tag of old) await run('docker', ['rmi', tag], { step: 'tidy', ok: [0, 1], log });
  return old;
}
