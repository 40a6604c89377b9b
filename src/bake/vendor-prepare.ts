import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { keyFile, type VendorBase } from '../base/bases.ts';
import type { VendorImage } from '../base/vendor.ts';
import { sourceLines } from '../base/vendor-packages.ts';
import type { Accelerator } from '../doctor/accelerator.ts';
import { run } from '../process/run.ts';
import { GUESTFS_ENV } from './disk.ts';
import { runPacker } from './packer.ts';
import { labelled, readPartitions } from './partitions.ts';
import { PREPARED } from './prepare.ts';
import { reshapeVendorDisk } from './vendor-disk.ts';

/** Upgrades of a kernel and of a hundred packages under emulation; with KVM it takes a few minutes. */
const PREPARE_LIMIT_MINUTES = 60;

export interface VendorPrepareInputs {
  /** The project's root. */
  root: string;
  base: VendorBase;
  image: VendorImage;
  /** `name=version`, all that the guest installs. */
  install: string[];
  runtimeTar: string;
  key: string;
  accelerator: Accelerator;
  /** Folder of the Packer run; its disk stays there when it fails. */
  work: string;
  /** Folder for logs. */
  logs: string;
}

/**
 * Makes of a vendor's image what `prepare` makes of a bootstrapped base: our partitions, all layers' packages and the
 * runtime, as a disk and as an archive. A vendor's packages are its own, so apt runs in the guest, as on any instance.
 */
export async function prepareVendor(
  inputs: VendorPrepareInputs,
  dir: string,
  detail: (text: string) => void,
): Promise<void> {
  const { root, base, work, accelerator } = inputs;
  const log = join(inputs.logs, 'prepare.log');
  mkdirSync(work, { recursive: true });
  const [raw, shaped] = [join(work, 'shaped.raw'), join(work, 'shaped.qcow2')];
  await reshapeVendorDisk(base, inputs.image, raw, inputs.key, log);
  const { number } = labelled(await readPartitions(raw, 'prepare'), base.rootLabel, 'prepare');
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, shaped], { step: 'prepare', log });
  await rm(raw);
  const payload = await archivePrepare(inputs, log);
  const disk = await runPacker(
    {
      ...{ root, disk: shaped, payload, work, accelerator, limitMinutes: PREPARE_LIMIT_MINUTES },
      attach: { name: 'runtime', file: inputs.runtimeTar },
      log: join(inputs.logs, 'prepare-packer.log'),
    },
    detail,
  );
  const prepared = join(dir, PREPARED.disk);
  // Copied, not moved: it leaves out what the guest has freed, and the cache may be on another file system.
  await run('qemu-img', ['convert', '-f', 'qcow2', '-O', 'qcow2', disk, prepared], { step: 'prepare', log });
  await archiveRoot(prepared, number, join(dir, PREPARED.tar), log);
}

/** What packer/prepare.sh reads, under the names that the template runs. */
async function archivePrepare(inputs: VendorPrepareInputs, log: string): Promise<string> {
  const { root, base, work } = inputs;
  const [dir, tar] = [join(work, 'payload'), join(work, 'payload.tar')];
  mkdirSync(dir, { recursive: true });
  copyFileSync(join(root, 'packer', 'prepare.sh'), join(dir, 'apply.sh'));
  copyFileSync(join(root, 'packer', 'seal.sh'), join(dir, 'seal.sh'));
  copyFileSync(keyFile(base.archive.key), join(dir, 'archive.gpg'));
  const sources = sourceLines(base).map((line) => line.replace(/^deb /, 'deb [signed-by=/tmp/payload/archive.gpg] '));
  writeFileSync(join(dir, 'sources.list'), sources.map((line) => `${line}\n`).join(''));
  writeFileSync(join(dir, 'install'), inputs.install.map((word) => `${word}\n`).join(''));
  await run('tar', ['--create', '--file', tar, '--owner=0', '--group=0', '--mode=u=rwX,go=rX', '-C', dir, '.'], {
    step: 'prepare',
    log,
  });
  return tar;
}

/** The root of a closed disk as an archive, for containers. */
async function archiveRoot(disk: string, number: number, tar: string, log: string): Promise<void> {
  await run('guestfish', ['--ro', '--format=qcow2', '--add', disk], {
    step: 'prepare',
    log,
    env: GUESTFS_ENV,
    input: `run\nmount-ro /dev/sda${number} /\ntar-out / "${tar}" numericowner:true xattrs:true\n`,
    hint: 'npm run doctor checks libguestfs and its kernel',
  });
}
