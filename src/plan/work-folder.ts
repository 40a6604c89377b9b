import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { cacheRoot } from './cache.ts';

const KINDS = ['bench-bake', 'bench-size', 'disk', 'lab', 'mutation', 'probe', 'tree', 'upload'] as const;
type Kind = (typeof KINDS)[number];

const OURS = new RegExp(`^(?:${KINDS.join('|')})-(\\d+)-`);

/**
 * Makes a folder below the cache for one run of something that needs much room; it goes when the process ends. What runs
 * that were killed left goes first. Not in /tmp, which is memory on many machines.
 *
 * @returns its path, and what removes it at once.
 */
export function workFolder(kind: Kind): {
  work: string;
  remove: () => void;
} {
  for (const stale of staleWorkFolders()) rmSync(stale, { recursive: true, force: true });
  mkdirSync(cacheRoot(), { recursive: true });
  const work = mkdtempSync(join(cacheRoot(), `${kind}-${process.pid}-`));
  const removeNow = () => rmSync(work, { recursive: true, force: true });
  // Ctrl-C and the like.
  process.once('exit', removeNow);
  const remove = () => {
    process.off('exit', removeNow);
    removeNow();
  };
  return { work, remove };
}

/** Folders of runs whose process is there no more: only `kill -9` and power cuts leave any. */
export function staleWorkFolders(): string[] {
  const names = existsSync(cacheRoot()) ? readdirSync(cacheRoot()) : [];
  return names
    .filter((name) => {
      const match = OURS.exec(name);
      return match !== null && !existsSync(`/proc/${match[1]}`);
    })
    .map((name) => join(cacheRoot(), name));
}
