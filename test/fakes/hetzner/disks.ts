import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, mkdtempSync, rmSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { run } from '../../../src/process/run.ts';
import { FOLDER } from './loop.ts';

const MIB = 1024 * 1024;
/** Where a vendor's image has left something: at the beginning, between, and behind any image of ours. */
const STALE_MIB = [0, 3, 17, 40, 63, 120, 9000];

/** Sparse files that are the disks of the fake's servers and snapshots. */
export class Disks {
  readonly folder: string;
  readonly #gigabyte: number;
  #count = 0;

  /** @param gigabyte bytes that a GB of a server type is here; a multiple of 512. */
  constructor(gigabyte: number) {
    this.#gigabyte = gigabyte;
    this.folder = mkdtempSync(FOLDER);
  }

  /** As large as the server type's, with the bytes of a vendor's image here and there. */
  async fresh(gigabytes: number): Promise<string> {
    const file = this.#path();
    const handle = await open(file, 'wx');
    try {
      const size = gigabytes * this.#gigabyte;
      await handle.truncate(size);
      for (const at of STALE_MIB.filter((at) => (at + 1) * MIB <= size))
        await handle.write(randomBytes(MIB), 0, MIB, at * MIB);
    } finally {
      await handle.close();
    }
    return file;
  }

  /** A copy, made larger where the disk is; holes stay holes. */
  async copy(from: string, gigabytes: number): Promise<string> {
    const file = this.#path();
    await run('cp', ['--sparse=always', '--reflink=auto', from, file], { step: 'fake hetzner' });
    await run('truncate', ['--size', String(gigabytes * this.#gigabyte), file], { step: 'fake hetzner' });
    return file;
  }

  #path(): string {
    return join(this.folder, `disk-${++this.#count}`);
  }

  close(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Lower-case hex, of the first `size` bytes. */
export async function sha256Of(file: string, size: number): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file, { end: size - 1 }), hash);
  return hash.digest('hex');
}

/** Bytes that really lie on the disk. */
export function allocated(file: string): number {
  return statSync(file).blocks * 512;
}
