import { open } from 'node:fs/promises';
import { BuildError } from '../process/errors.ts';
import { run } from '../process/run.ts';

/** A partition of a disk as its GPT and its ext4 superblock have it. */
export interface Partition {
  number: number;
  /** Bytes from the start of the disk. */
  start: number;
  /** Bytes. */
  size: number;
  /** Label of its ext4; undefined where there is none. */
  label: string | undefined;
}

interface SfdiskTable {
  partitiontable: { label: string; sectorsize: number; partitions: { node: string; start: number; size: number }[] };
}

/** Reads a raw disk's partitions, by their place on it. @throws BuildError for what isn't GPT. */
export async function readPartitions(raw: string, step: string): Promise<Partition[]> {
  const { stdout } = await run('sfdisk', ['--json', raw], { step, hint: 'is this a disk image with a GPT?' });
  const { partitiontable: table } = JSON.parse(stdout) as SfdiskTable;
  if (table.label !== 'gpt') throw new BuildError(step, `${raw}: ${table.label}, not GPT`, 'only GPT disks are baked');
  const partitions = table.partitions.map(async ({ node, start, size }) => {
    const at = start * table.sectorsize;
    // sfdisk calls them <file><number>, with a `p` between where the file's name ends in a digit.
    const number = Number(node.slice(raw.length).replace('p', ''));
    return { number, start: at, size: size * table.sectorsize, label: await ext4Label(raw, at) };
  });
  return (await Promise.all(partitions)).sort((a, b) => a.start - b.start);
}

/** The partition whose file system has this label. @throws BuildError where there isn't exactly one. */
export function labelled(partitions: Partition[], label: string, step: string): Partition {
  const found = partitions.filter((partition) => partition.label === label);
  if (found.length === 1) return found[0] as Partition;
  const labels = partitions.map((partition) => partition.label ?? '-').join(', ');
  throw new BuildError(
    step,
    `${found.length} file systems are labelled ${label} (there are: ${labels})`,
    'mend the base',
  );
}

/** Byte offsets of ext4's superblock and of two of its fields (kernel documentation, "ext4 Data Structures"). */
const SUPERBLOCK = { start: 1024, length: 1024, magic: 0x38, label: 0x78, labelLength: 16 } as const;
const EXT4_MAGIC = 0xef53;

async function ext4Label(raw: string, start: number): Promise<string | undefined> {
  const handle = await open(raw, 'r');
  try {
    const block = Buffer.alloc(SUPERBLOCK.length);
    await handle.read(block, 0, SUPERBLOCK.length, start + SUPERBLOCK.start);
    if (block.readUInt16LE(SUPERBLOCK.magic) !== EXT4_MAGIC) return undefined;
    const label = block.subarray(SUPERBLOCK.label, SUPERBLOCK.label + SUPERBLOCK.labelLength).toString();
    return label.replace(/\0.*$/s, '');
  } finally {
    await handle.close();
  }
}
