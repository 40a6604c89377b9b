import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';

/** EBS' own block size, so that an upload and its read-back reuse these digests (EBS direct APIs, PutSnapshotBlock). */
export const BLOCK_BYTES = 512 * 1024;

export interface DiskDigest {
  /** SHA-256 of the raw disk, hex: the digest that everything carries. */
  raw: string;
  /** Bytes of the raw disk. */
  size: number;
  /** Index of each block that isn't all zeros → SHA-256, hex. */
  blocks: Record<number, string>;
  /** Which of the needles were found, and in which block. */
  found: { needle: string; block: number }[];
}

/**
 * Reads a raw disk once: its digest, its blocks' digests, and whether any of the needles is anywhere in it, deleted
 * files included.
 *
 * @param needles texts that must not be on the disk, such as a key of the build.
 */
export async function digestDisk(file: string, needles: string[]): Promise<DiskDigest> {
  const whole = createHash('sha256');
  const blocks: Record<number, string> = {};
  const found: DiskDigest['found'] = [];
  const longest = Math.max(1, ...needles.map((needle) => Buffer.byteLength(needle)));
  const handle = await open(file, 'r');
  let size = 0;
  try {
    const zero = Buffer.alloc(BLOCK_BYTES);
    // A needle may lie across two blocks, so each block is searched with the end of the one before.
    const window = Buffer.alloc(longest - 1 + BLOCK_BYTES);
    for (let index = 0; ; index++) {
      const { bytesRead } = await handle.read(window, longest - 1, BLOCK_BYTES);
      if (bytesRead === 0) break;
      const block = window.subarray(longest - 1, longest - 1 + bytesRead);
      size += bytesRead;
      whole.update(block);
      if (!block.equals(bytesRead === BLOCK_BYTES ? zero : zero.subarray(0, bytesRead))) {
        blocks[index] = createHash('sha256').update(block).digest('hex');
        for (const needle of needles) {
          if (window.subarray(0, longest - 1 + bytesRead).includes(needle)) found.push({ needle, block: index });
        }
      }
      window.copyWithin(0, bytesRead, bytesRead + longest - 1);
    }
  } finally {
    await handle.close();
  }
  return { raw: whole.digest('hex'), size, blocks, found };
}
