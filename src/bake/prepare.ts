import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { BootstrappedBase } from '../base/bases.ts';
import { addPackages } from '../base/bootstrap.ts';
import { run } from '../process/run.ts';
import { buildDisk } from './disk.ts';

/** What `prepare` leaves in its cache folder. */
export const PREPARED = { tar: 'root.tar', disk: 'disk.qcow2' } as const;

/**
 * Base + the union of all layers' packages + the runtime, as a root archive (for containers) and as a bootable disk
 * (for Packer). Nothing of a layer but its packages is in it, so editing a layer doesn't come back here.
 */
export async function prepare(
  base: BootstrappedBase,
  inputs: { baseTar: string; runtimeTar: string; packages: string[]; key: string },
  dir: string,
  log: string,
): Promise<void> {
  const tar = join(dir, PREPARED.tar);
  await addPackages(base, inputs.baseTar, inputs.packages, tar, log, inputs.runtimeTar);
  const raw = join(dir, 'disk.raw');
  await buildDisk(tar, dir, raw, inputs.key, log);
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, join(dir, PREPARED.disk)], {
    step: 'prepare',
    log,
  });
  await rm(raw);
}
