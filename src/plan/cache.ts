import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, statSync, utimesSync } from 'node:fs';
import { mkdtemp, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import lockfile from 'proper-lockfile';

/** Results of one kind that are kept: a tree is a gigabyte, and each bake makes one. */
const KEPT = 6;
/** Milliseconds; what was used since may be in use still: no command runs longer. */
const IN_USE_MS = 3 * 3600_000;

/** Where results are kept by the digest of their inputs; `npm run clean -- --cache` empties it. */
export function cacheRoot(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'clawdy');
}

/** The folder that holds, or will hold, the result of `kind` for these inputs. */
export function cacheDir(kind: string, key: string): string {
  return join(cacheRoot(), kind, key.slice(0, 32));
}

export function isCached(kind: string, key: string): boolean {
  return existsSync(cacheDir(kind, key));
}

/**
 * Returns the cached folder, building it first where it isn't there. A build that dies leaves nothing under the key:
 * it works in a temporary sibling and is renamed when whole. Two processes with one key build it once.
 */
export async function cached(
  kind: string,
  key: string,
  build: (dir: string) => Promise<void>,
): Promise<{ dir: string; hit: boolean }> {
  const dir = cacheDir(kind, key);
  if (existsSync(dir)) {
    // Its time is that of its last use.
    utimesSync(dir, new Date(), new Date());
    return { dir, hit: true };
  }
  const parent = join(cacheRoot(), kind);
  mkdirSync(parent, { recursive: true });
  // Stale after 60 s without a sign of life (the lock is touched every 15 s); waits for up to 30 minutes.
  const release = await lockfile.lock(dir, {
    realpath: false,
    stale: 60_000,
    update: 15_000,
    retries: { retries: 1800, factor: 1, minTimeout: 1000 },
  });
  try {
    if (existsSync(dir)) return { dir, hit: true };
    // What a killed build of this key left; nobody else works under this lock.
    const prefix = halfPrefix(key);
    for (const name of readdirSync(parent).filter((name) => name.startsWith(prefix))) {
      await rm(join(parent, name), { recursive: true, force: true });
    }
    const work = await mkdtemp(join(parent, prefix));
    try {
      await build(work);
      await rename(work, dir);
      await dropOld(parent);
    } catch (error) {
      // The first error is the one to show.
      await rm(work, { recursive: true, force: true }).catch(() => undefined);
      throw error;
    }
    return { dir, hit: false };
  } finally {
    await release();
  }
}

async function dropOld(parent: string): Promise<void> {
  const results = readdirSync(parent)
    .filter((name) => /^[0-9a-f]{32}$/.test(name))
    .map((name) => ({ path: join(parent, name), used: statSync(join(parent, name)).mtimeMs }))
    .sort((a, b) => b.used - a.used);
  for (const { path, used } of results.slice(KEPT)) {
    if (Date.now() - used > IN_USE_MS) await rm(path, { recursive: true, force: true });
  }
}

/** Takes out a result that proved wrong; the next call builds it anew. Whole or not at all, as it came. */
export async function uncache(kind: string, key: string): Promise<void> {
  const gone = join(cacheRoot(), kind, `${halfPrefix(key)}${randomUUID()}`);
  // Somebody else may have been first.
  await rename(cacheDir(kind, key), gone).catch(() => undefined);
  await rm(gone, { recursive: true, force: true });
}

/** What isn't whole is called so, and is swept by the next build of its key. */
function halfPrefix(key: string): string {
  return `.new-${key.slice(0, 12)}-`;
}
