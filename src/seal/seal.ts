import { readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { LAYOUT } from '../bake/disk-layout.ts';
import { labelled, type Partition, readPartitions } from '../bake/partitions.ts';
import { BuildError } from '../process/errors.ts';
import { run } from '../process/run.ts';
import { BLOCK_BYTES, digestDisk } from './digest.ts';
import { type Entry, Ext4 } from './ext4.ts';
import { needlesOf, unclean } from './hygiene.ts';

export interface Sealed {
  rawSha256: string;
  /** Bytes. */
  rawSize: number;
  /** `name version`, sorted, from dpkg's database on the closed disk. */
  packages: string[];
}

/**
 * Checks a baked, closed disk from outside and writes what the image consists of: `disk.qcow2`, `blocks.json` and
 * `files.tsv` into `into`.
 *
 * @throws BuildError naming every path that must not be there.
 */
export async function sealDisk(options: {
  disk: string;
  /** Label of the root's file system. */
  rootLabel: string;
  into: string;
  /** The build's console log: it holds the build's public host keys, which must be nowhere on the disk. */
  console: string;
  publicKey: string;
  log: string;
}): Promise<Sealed> {
  const { into, log } = options;
  const raw = join(into, 'disk.raw');
  const qcow2 = join(into, 'disk.qcow2');
  await run('qemu-img', ['convert', '-O', 'raw', options.disk, raw], { step: 'seal', log });
  const partitions = await readPartitions(raw, 'seal');
  await discardFreeBlocks(raw, partitions, log);
  const needles = needlesOf({ publicKey: options.publicKey, console: readFileSync(options.console, 'utf8') });
  if (needles.length < 2) {
    throw new BuildError('seal', "the build's console shows no host key to search the disk for", 'read its console', {
      log: options.console,
    });
  }
  const disk = new Ext4(raw, labelled(partitions, options.rootLabel, 'seal').start);
  const [digest, entries] = await Promise.all([
    digestDisk(raw, needles),
    disk.list(),
    run(
      'qemu-img',
      ['convert', '-c', '-f', 'raw', '-O', 'qcow2', '-o', 'compression_type=zstd', '-m', '2', raw, qcow2],
      { step: 'seal', log },
    ),
  ]);
  const state = await new Ext4(raw, labelled(partitions, LAYOUT.state.label, 'seal').start).list();
  const faults = [
    ...(await unclean(disk, entries)),
    ...state.map(({ path }) => `clawdy-state:${path}: state that only an instance's first boot may make`),
    ...digest.found.map(({ needle, block }) => `block ${block}: a public key of the build (${needle.slice(-12)})`),
  ];
  if (faults.length) {
    throw new BuildError(
      'seal',
      `the closed disk isn't clean:\n${faults.slice(0, 20).join('\n')}`,
      'extend packer/seal.sh',
      { log },
    );
  }
  // The qcow2 is what is kept; it must decode to the very bytes that were hashed.
  await run('qemu-img', ['compare', '-f', 'raw', '-F', 'qcow2', raw, qcow2], { step: 'seal', log });
  writeFileSync(
    join(into, 'blocks.json'),
    JSON.stringify({ blockBytes: BLOCK_BYTES, size: digest.size, blocks: digest.blocks }),
  );
  writeFileSync(join(into, 'files.tsv'), entries.map(fileLine).join(''));
  const packages = parsePackages((await disk.read('/var/lib/dpkg/status')).toString());
  await rm(raw);
  return { rawSha256: digest.raw, rawSize: digest.size, packages };
}

/**
 * Makes free blocks of every ext4 read as zeros. The guest's own fstrim reaches only what fills whole clusters of the
 * qcow2: a deleted file of one block stays readable in the raw disk (seen: the build's key).
 */
async function discardFreeBlocks(raw: string, partitions: Partition[], log: string): Promise<void> {
  for (const { start, label } of partitions) {
    if (label === undefined) continue;
    const device = `${raw}?offset=${start}`;
    // A first pass settles what a boot leaves to tidy (exit 1: "errors corrected"); e2fsck discards only in a pass that changes nothing.
    await run('e2fsck', ['-f', '-y', device], { step: 'seal', log, ok: [0, 1] });
    await run('e2fsck', ['-f', '-y', '-E', 'discard', device], { step: 'seal', log });
  }
}

function fileLine({ path, type, mode, uid, gid, size }: Entry): string {
  return `${[path, type, mode, uid, gid, size].join('\t')}\n`;
}

/** Installed packages as `name version`, sorted, from a dpkg status file. */
export function parsePackages(status: string): string[] {
  return status
    .split('\n\n')
    .filter((paragraph) => /^Status: install ok installed$/m.test(paragraph))
    .map((paragraph) => `${/^Package: (.*)$/m.exec(paragraph)?.[1]} ${/^Version: (.*)$/m.exec(paragraph)?.[1]}`)
    .sort();
}
