import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { PutSnapshotBlockCommand } from '@aws-sdk/client-ebs';
import { BuildError } from '../../process/errors.ts';
import { BLOCK_BYTES } from '../../seal/digest.ts';
import type { RawDisk } from '../cloud.ts';

const ZERO_SHA256 = createHash('sha256').update(Buffer.alloc(BLOCK_BYTES)).digest();

/** Reads blocks of a disk and checks each against the digest it was verified with. */
export class BlockReader {
  readonly #disk: RawDisk;
  readonly #handle: FileHandle;
  /** Buffers that nobody uses at the moment: memory stays flat at one for each worker. */
  readonly #free: Buffer[] = [];

  private constructor(disk: RawDisk, handle: FileHandle) {
    this.#disk = disk;
    this.#handle = handle;
  }

  static async open(disk: RawDisk): Promise<BlockReader> {
    return new BlockReader(disk, await open(disk.path, 'r'));
  }

  /**
   * Gives a block to `use`, filled up with zeros at the disk's end; the buffer is used again afterwards.
   * @throws BuildError when the bytes aren't those that were verified.
   */
  async with<T>(index: number, use: (block: Buffer, sha256: Buffer) => Promise<T>): Promise<T> {
    const buffer = this.#free.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES);
    try {
      const length = await this.#read(buffer, index);
      const expected = this.#disk.blocks[index];
      const whole = sha256(buffer);
      // blocks.json has the digest of the bytes there are; the cloud's block is always whole.
      const own = length === BLOCK_BYTES ? whole : sha256(buffer.subarray(0, length));
      if (expected === undefined ? !whole.equals(ZERO_SHA256) : own.toString('hex') !== expected)
        throw new BuildError(
          'aws',
          `block ${index} of ${this.#disk.path} isn't what was verified`,
          'the disk was changed: bake or fetch it anew',
        );
      return await use(buffer, whole);
    } finally {
      this.#free.push(buffer);
    }
  }

  /** SHA-256 over the digests of whole blocks, in that order: EBS' checksum of a snapshot (method LINEAR). */
  async linear(indexes: number[]): Promise<string> {
    const all = createHash('sha256');
    for (const index of indexes) {
      const known = this.#disk.blocks[index];
      const isWhole = (index + 1) * BLOCK_BYTES <= this.#disk.size;
      if (!known) all.update(ZERO_SHA256);
      else if (isWhole) all.update(Buffer.from(known, 'hex'));
      else await this.with(index, async (_, digest) => all.update(digest));
    }
    return all.digest('base64');
  }

  close(): Promise<void> {
    return this.#handle.close();
  }

  /** @returns how many bytes of the block lie within the disk. */
  async #read(buffer: Buffer, index: number): Promise<number> {
    let length = 0;
    while (length < BLOCK_BYTES) {
      const { bytesRead } = await this.#handle.read(buffer, length, BLOCK_BYTES - length, index * BLOCK_BYTES + length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    buffer.fill(0, length);
    return length;
  }
}

/** The call that puts one block, its checksum and signature over the digest that was just computed. */
export function putBlock(snapshotId: string, index: number, block: Buffer, sha256: Buffer): PutSnapshotBlockCommand {
  const command = new PutSnapshotBlockCommand({
    SnapshotId: snapshotId,
    BlockIndex: index,
    BlockData: block,
    DataLength: BLOCK_BYTES,
    Checksum: sha256.toString('base64'),
    ChecksumAlgorithm: 'SHA256',
  });
  // The signature is over the same digest; the SDK would hash every block a second time.
  command.middlewareStack.add(
    (next) => (args) => {
      const { headers } = args.request as { headers: Record<string, string> };
      headers['x-amz-content-sha256'] = sha256.toString('hex');
      return next(args);
    },
    { step: 'build', name: 'clawdy-digest' },
  );
  return command;
}

function sha256(bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest();
}
