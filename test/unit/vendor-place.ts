import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { loadBase, type VendorBase } from '../../src/base/bases.ts';
import { fetchVendor } from '../../src/base/vendor.ts';
import { BuildError } from '../../src/process/errors.ts';
import { makeTestKey, signFolder, type TestKey } from '../e2e/vendor-site.ts';

// A vendor's place in a folder and over HTTP, signed by a test key and new for each test of the file that imports it.

export const work = mkdtempSync(join(tmpdir(), 'clawdy-bases-'));
export const folder = join(work, 'folder');
export const ubuntu = loadBase('ubuntu-24.04') as VendorBase;
/** More than one chunk of any stream. */
export const CONTENT = Buffer.alloc(3 * 1024 * 1024, 'a vendor’s image');
process.env.XDG_CACHE_HOME = join(work, 'cache');
// CI, where this may run, never falls back.
delete process.env.CI;

export const place = {} as {
  key: TestKey;
  /** Of nobody the vendor knows. */
  other: TestKey;
  url: string;
  /** How the site answers for one path; the default is the signed folder as it is. */
  answer: ((path: string, response: ServerResponse) => boolean) | undefined;
};

const site = createServer((request, response) => {
  const path = (request.url ?? '').slice(1);
  if (place.answer?.(path, response)) return;
  const file = join(folder, path);
  if (!existsSync(file)) response.writeHead(404).end();
  else response.end(readFileSync(file));
});

test.before(async () => {
  [place.key, place.other] = await Promise.all([makeTestKey('vendor'), makeTestKey('stranger')]);
  await new Promise<void>((resolve) => site.listen(0, '127.0.0.1', resolve));
  place.url = `http://127.0.0.1:${(site.address() as AddressInfo).port}/`;
});

test.after.always(async () => {
  site.closeAllConnections();
  site.close();
  await Promise.all([place.key.close(), place.other.close()]);
  rmSync(work, { recursive: true, force: true });
});

test.beforeEach(async () => {
  place.answer = undefined;
  for (const dir of [folder, join(work, 'cache')]) rmSync(dir, { recursive: true, force: true });
  mkdirSync(folder);
  writeFileSync(join(folder, ubuntu.image), CONTENT);
  await signFolder(folder, place.key);
});

/** Files anywhere in the cache, locks included. */
export function cacheFiles(): string[] {
  const dir = join(work, 'cache');
  return existsSync(dir)
    ? readdirSync(dir, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name))
    : [];
}

export async function refused(from: string, trusted = place.key.file, base = ubuntu): Promise<BuildError> {
  try {
    await fetchVendor(base, { from, key: trusted });
  } catch (error) {
    if (error instanceof BuildError) return error;
    throw error;
  }
  throw new Error('it was taken');
}
