import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { GUESTFS_ENV } from '../../src/bake/disk.ts';
import { type BootstrappedBase, loadBase } from '../../src/base/bases.ts';
import { run } from '../../src/process/run.ts';
import { ROOT } from '../image.ts';
import { signFolder, type TestKey } from './vendor-site.ts';

/** What the definition of the vendor-shaped base says, for a test to compare with. */
export const VENDOR = {
  id: 'vendorshaped-12',
  image: 'vendorshaped-12-server-cloudimg-amd64.img',
  rootMiB: 4096,
} as const;

/** The account that the vendor's cloud-init makes. */
export const DEFAULT_USER = 'debian';

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
const ARCHIVE = [
  { uri: 'http://deb.debian.org/debian', suites: ['bookworm', 'bookworm-updates'], components: ['main'] },
  { uri: 'http://deb.debian.org/debian-security', suites: ['bookworm-security'], components: ['main'] },
];

/** MiB from the start of the disk; numbers, order and labels are those of Ubuntu 24.04's cloud image. */
const PARTITIONS = {
  bios: { number: 14, start: 1, size: 4, type: 'ef02' },
  efi: { number: 15, start: 5, size: 106, type: 'ef00' },
  boot: { number: 16, start: 111, size: 512, type: 'ea00' },
  root: { number: 1, start: 623, size: 2000, type: '8300' },
} as const;
const DISK_MIB = 2624;
const MiB = 1024 * 1024;

/** Ubuntu's habits on a Debian: sshd by socket activation, a fixed-name account, a root that grows at each boot. */
const HABITS = `set -eu
cat >"$1/etc/fstab" <<'EOF'
LABEL=cloudimg-rootfs / ext4 discard,errors=remount-ro 0 1
LABEL=BOOT /boot ext4 defaults 0 2
LABEL=UEFI /boot/efi vfat umask=0077 0 1
EOF
chroot "$1" systemctl disable ssh.service
chroot "$1" systemctl enable ssh.socket
`;

/**
 * Makes a folder as a vendor serves it: the image, SHA256SUMS and its signature by a key of the test's own.
 * It takes the packages of Debian's release alone, without its updates, as a vendor's image is always older than its
 * archive: there is something to upgrade.
 *
 * @returns path of the base's definition.
 */
export async function makeVendorBase(site: string, work: string, key: TestKey): Promise<string> {
  const log = join(work, 'vendor.log');
  const tar = join(work, 'vendor.tar');
  const habits = join(work, 'habits.sh');
  writeFileSync(habits, HABITS);
  const { packages } = loadBase('debian-12') as BootstrappedBase;
  await run(
    'mmdebstrap',
    [
      ...['--variant=apt', '--architectures=amd64', '--aptopt=APT::Install-Recommends "false"'],
      `--include=${[...packages, 'cloud-initramfs-growroot', 'unattended-upgrades'].join(',')}`,
      `--customize-hook=sh '${join(ROOT, 'src/base/contract.sh')}' "$1"`,
      `--customize-hook=sh '${habits}' "$1"`,
      ...['bookworm', tar, 'deb http://deb.debian.org/debian bookworm main'],
    ],
    { step: 'vendor', log },
  );
  const raw = join(work, 'vendor.raw');
  await vendorDisk(tar, raw, log);
  const image = join(site, VENDOR.image);
  await run('qemu-img', ['convert', '-c', '-f', 'raw', '-O', 'qcow2', raw, image], { step: 'vendor', log });
  await signFolder(site, key);
  const definition = join(work, 'vendor.yaml');
  writeFileSync(
    definition,
    stringify({
      id: VENDOR.id,
      title: 'Debian 12 in the shape of a vendor’s image',
      kind: 'vendor',
      url: 'http://vendor.invalid/',
      image: VENDOR.image,
      key: 'ubuntu-cloudimage-keyring.gpg',
      fingerprints: ['D2EB44626FDDC30B513D5BB71A5D6C4C7DB87C81'],
      rootLabel: 'cloudimg-rootfs',
      rootMiB: VENDOR.rootMiB,
      archive: { key: KEYRING, sources: ARCHIVE },
    }),
  );
  return definition;
}

async function vendorDisk(tar: string, raw: string, log: string): Promise<void> {
  const step = { step: 'vendor', log };
  const { efi, boot, root } = PARTITIONS;
  writeFileSync(raw, '');
  truncateSync(raw, DISK_MIB * MiB);
  const tables = Object.values(PARTITIONS).flatMap(({ number, start, size, type }) => [
    `--new=${number}:${start}MiB:+${size}MiB`,
    `--typecode=${number}:${type}`,
  ]);
  await run('sgdisk', ['--clear', ...tables, raw], step);
  const sectors = `--offset=${(efi.start * MiB) / 512}`;
  await run('mkfs.vfat', ['-F', '32', '-s', '1', '-n', 'UEFI', sectors, raw, `${efi.size * 1024}`], step);
  for (const [label, { start, size }] of [['BOOT', boot] as const, ['cloudimg-rootfs', root] as const]) {
    const features = ['-O', '^metadata_csum_seed,^orphan_file', '-E', `offset=${start * MiB}`];
    await run('mke2fs', ['-q', '-F', '-t', 'ext4', '-L', label, ...features, raw, `${size}M`], step);
  }
  await run('guestfish', ['--format=raw', '--add', raw], { ...step, env: GUESTFS_ENV, input: fillScript(tar) });
}

function fillScript(tar: string): string {
  return `run
mount /dev/sda${PARTITIONS.root.number} /
mkdir-mode /boot 0755
mount /dev/sda${PARTITIONS.boot.number} /boot
mkdir-mode /boot/efi 0755
mount /dev/sda${PARTITIONS.efi.number} /boot/efi
tar-in "${tar}" / xattrs:true
sh "grub-install --target=i386-pc $(grub-probe --target=disk /)"
command "grub-install --target=x86_64-efi --efi-directory=/boot/efi --removable --no-nvram"
command "update-grub"
umount-all
`;
}
