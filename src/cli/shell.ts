import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { Command } from 'commander';
import { cpuArgs, probeAccelerator } from '../doctor/accelerator.ts';
import { inputError } from '../process/errors.ts';
import { interactive, run } from '../process/run.ts';
import { enterKept, keptBox } from '../verify/keep.ts';

export function shellCommand(root: string): Command {
  return new Command('shell')
    .description(
      'enter the box that `verify --keep` keeps, else boot an overlay of the last failed bake’s disk or of an image',
    )
    .argument('[image]', 'an image or failed bake; default: the newest failed bake, else dist/latest')
    .option('--plan', 'say what would be booted and stop', false)
    .action(async (image: string | undefined, options: { plan: boolean }) => {
      const kept = image ? undefined : keptBox();
      if (kept) {
        process.stderr.write(`the box that ${kept.claim} left, kept by process ${kept.pid}\n`);
        if (!options.plan) await enterKept(kept);
        return;
      }
      const disk = findDisk(join(root, 'dist'), image);
      process.stderr.write(
        `overlay of ${relative(root, disk)}; nothing you do reaches it. Ctrl-a x ends the machine.\n`,
      );
      if (!options.plan) await bootOverlay(disk);
    });
}

/** Where a failed bake, or a finished image, keeps its disk. */
const DISKS = ['packer/out/disk.qcow2', 'packer/disk.qcow2', 'disk.qcow2'];

/** @throws BuildError (input) when there is nothing to boot. */
export function findDisk(dist: string, image?: string): string {
  const failed = join(dist, '.failed');
  const newestFailed = existsSync(failed) ? readdirSync(failed).sort().reverse() : [];
  const folders = image
    ? [join(dist, image), join(failed, image), image]
    : [...newestFailed.map((name) => join(failed, name)), join(dist, 'latest')];
  const disk = folders.flatMap((folder) => DISKS.map((name) => join(folder, name))).find((file) => existsSync(file));
  if (!disk) throw inputError('shell', 'there is no disk to boot', 'make bake');
  return disk;
}

/**
 * Root's shell on the serial console of a locked image. Whoever runs the machine owns it: systemd 257 hands these
 * credentials of the hypervisor's to getty (https://systemd.io/CREDENTIALS/). Older ones (Debian 12) ignore them.
 */
const ROOT_LOGIN = ['agetty.autologin=root', 'login.noauth=yes'].flatMap((credential) => [
  '-smbios',
  `type=11,value=io.systemd.credential:${credential}`,
]);

async function bootOverlay(disk: string): Promise<void> {
  const work = mkdtempSync(join(tmpdir(), 'clawdy-shell-'));
  try {
    const overlay = join(work, 'overlay.qcow2');
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', disk, overlay], { step: 'shell' });
    await interactive('qemu-system-x86_64', [
      ...['-machine', 'q35', ...cpuArgs(await probeAccelerator()), '-m', '2048', '-smp', '2', '-vga', 'std'],
      ...['-display', 'none', '-drive', `file=${overlay},if=virtio,format=qcow2`, '-nic', 'user,model=virtio-net-pci'],
      ...['-device', 'virtio-rng-pci', '-serial', 'mon:stdio', ...ROOT_LOGIN],
    ]);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
