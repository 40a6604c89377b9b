import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../process/run.ts';
import { DISK_MIB, LAYOUT, MiB } from './disk-layout.ts';

/** grub-install in libguestfs' appliance needs no root here and no loop device; TCG always works (docs/architecture.md). */
export const GUESTFS_ENV = {
  LIBGUESTFS_BACKEND: 'direct',
  LIBGUESTFS_BACKEND_SETTINGS: 'force_tcg',
};

/**
 * Makes a bootable disk (GPT; BIOS and UEFI) from a root archive. File systems are filled natively; only GRUB is
 * installed inside a small VM.
 *
 * @param uuidSeed 32 hex digits; file system ids derive from it, so that equal inputs give an equal layout.
 */
export async function buildDisk(tar: string, work: string, raw: string, uuidSeed: string, log: string): Promise<void> {
  await writeFile(raw, '');
  await truncate(raw, DISK_MIB * MiB);
  const tables = Object.values(LAYOUT).flatMap(({ number, label, type, start, size }) => [
    `--new=${number}:${start}MiB:+${size}MiB`,
    `--change-name=${number}:${label}`,
    `--typecode=${number}:${type}`,
  ]);
  await run('sgdisk', ['--clear', ...tables, raw], { step: 'disk', log });
  // One sector a cluster: with more, a partition this small has too few clusters to count as FAT32, and OVMF can't read it.
  const efi = [`--offset=${(LAYOUT.efi.start * MiB) / 512}`, raw, `${LAYOUT.efi.size * 1024}`];
  await run('mkfs.vfat', ['-F', '32', '-s', '1', '-n', 'CLAWDY-EFI', ...efi], { step: 'disk', log });
  await asRoot(
    ROOT_SCRIPT,
    [tar, join(work, 'tree'), raw, offset('root'), `${LAYOUT.root.size}M`, uuid(uuidSeed, 'a')],
    log,
  );
  await makeStateFileSystem(raw, LAYOUT.state.start * MiB, LAYOUT.state.size * MiB, uuidSeed, log);
  await run('guestfish', ['--format=raw', '--add', raw], {
    step: 'grub',
    log,
    env: GUESTFS_ENV,
    input: GRUB_SCRIPT,
    hint: 'npm run doctor checks libguestfs and its kernel',
  });
}

/**
 * Makes the empty file system of the state partition inside a raw disk.
 * @param offset bytes from the start of the disk; `size` bytes too.
 * @param uuidSeed 32 hex digits; the file system's id derives from it.
 */
export async function makeStateFileSystem(
  raw: string,
  offset: number,
  size: number,
  uuidSeed: string,
  log: string,
): Promise<void> {
  const identity = ['-L', LAYOUT.state.label, '-U', uuid(uuidSeed, 'b')];
  const place = ['-E', `${FEATURES_E},offset=${offset}`, raw, `${size / 1024}k`];
  await run('mke2fs', ['-q', '-F', '-t', 'ext4', ...identity, ...EXT4, ...place], { step: 'disk', log });
}

/** Features that GRUB 2.06 (Debian 12) can't read stay off; the inode tables are written now, so that no first boot has to. */
const EXT4 = ['-O', '^metadata_csum_seed,^orphan_file', '-m', '1'];
const FEATURES_E = 'lazy_itable_init=0,lazy_journal_init=0,discard';

/** Unpacks the archive with its owners and fills the root file system from it. */
const ROOT_SCRIPT = `
set -eu
tar=$1 tree=$2 raw=$3 offset=$4 size=$5 uuid=$6
trap 'rm -rf "$tree"' EXIT
trap 'exit 1' TERM INT
mkdir -p "$tree"
tar -C "$tree" --numeric-owner -xpf "$tar"
mke2fs -q -F -t ext4 -L clawdy-root -U "$uuid" ${EXT4.join(' ')} \
  -E "${FEATURES_E},offset=$offset" -d "$tree" "$raw" "$size"
`;

// The appliance's own disk sometimes takes sda, so GRUB is asked which disk the root is on.
const GRUB_SCRIPT = `run
mount /dev/sda3 /
mount /dev/sda2 /boot/efi
sh "grub-install --target=i386-pc $(grub-probe --target=disk /)"
command "grub-install --target=x86_64-efi --efi-directory=/boot/efi --removable --no-nvram"
command "update-grub"
umount-all
`;

function offset(partition: keyof typeof LAYOUT): string {
  return String(LAYOUT[partition].start * MiB);
}

function uuid(seed: string, kind: string): string {
  const hex = `${kind}${seed.slice(1, 12)}4${seed.slice(13, 16)}8${seed.slice(17, 32)}`;
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** Runs a shell script that must see and set foreign owners: as root, or in a user namespace with one's sub-ids. */
async function asRoot(script: string, args: string[], log: string): Promise<void> {
  const words = ['sh', '-c', script, 'sh', ...args];
  if (process.getuid?.() === 0) await run('sh', words.slice(1), { step: 'disk', log });
  else await run('mmdebstrap', ['--unshare-helper', ...words], { step: 'disk', log });
}
