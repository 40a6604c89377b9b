/** A program or a file that the project needs on the machine, and where it comes from. */
export interface Prerequisite {
  /** What a person calls it; also the name of its check. */
  name: string;
  /** Present when each of these programs is found in PATH or in a `sbin` folder. */
  programs?: string[];
  /** Present when one of these programs is found; the first is what the packages bring. */
  oneOf?: string[];
  /** Present when one of these files is there, for packages that bring no program. */
  files?: string[];
  /** Debian and Ubuntu package names, best first: the first that apt can install is taken. */
  packages: string[];
  /** Printed when apt has none of the packages. */
  otherwise?: string;
  /** What it is for. */
  why: string;
}

const PACKER_BY_HAND =
  "this release's archive has no packer: take it from HashiCorp's own archive, https://developer.hashicorp.com/packer/install, and repeat";

/**
 * Everything that set-up installs and doctor checks, but for the kernel (kernels.ts) and for what isn't a package.
 * Presence is judged by what is used (a program, a file), so that docker-ce or a packer from elsewhere counts too.
 */
export const PREREQUISITES: readonly Prerequisite[] = [
  { name: 'packer', programs: ['packer'], packages: ['packer'], otherwise: PACKER_BY_HAND, why: 'bakes the disk' },
  { name: 'qemu', programs: ['qemu-system-x86_64'], packages: ['qemu-system-x86'], why: 'boots disks' },
  { name: 'qemu-img', programs: ['qemu-img'], packages: ['qemu-utils'], why: 'makes overlays and converts disks' },
  {
    name: 'ovmf',
    // Debian 13 and Ubuntu 24.04 ship only the 4M variant, Debian 12 both.
    files: ['/usr/share/OVMF/OVMF_CODE_4M.fd', '/usr/share/OVMF/OVMF_CODE.fd'],
    packages: ['ovmf'],
    why: 'UEFI firmware for test machines',
  },
  { name: 'mmdebstrap', programs: ['mmdebstrap'], packages: ['mmdebstrap'], why: 'bootstraps the Debian bases' },
  {
    name: 'debian-archive-keyring',
    files: ['/usr/share/keyrings/debian-archive-keyring.gpg', '/usr/share/keyrings/debian-archive-keyring.pgp'],
    packages: ['debian-archive-keyring'],
    why: "the keys that sign Debian's archive",
  },
  // In Debian 12 the tools package depends on guestfish's own; Debian 13 and Ubuntu have it under either name.
  {
    name: 'libguestfs',
    programs: ['guestfish'],
    packages: ['libguestfs-tools', 'guestfish'],
    why: 'installs GRUB, reads closed disks',
  },
  // Debian 13 has the client in a package of its own; older releases have both in docker.io.
  { name: 'docker', programs: ['docker'], packages: ['docker-cli', 'docker.io'], why: 'container tests' },
  { name: 'dockerd', programs: ['dockerd'], packages: ['docker.io'], why: 'container tests' },
  { name: 'age', programs: ['age', 'age-keygen'], packages: ['age'], why: 'opens sealed bundles in tests' },
  {
    name: 'chromium',
    oneOf: ['chromium', 'chromium-browser', 'google-chrome'],
    packages: ['chromium'],
    why: 'opens the Control UI as a person would, in tests',
  },
  { name: 'openssl', programs: ['openssl'], packages: ['openssl'], why: 'client certificates of launched instances' },
  { name: 'curl', programs: ['curl'], packages: ['curl'], why: 'the line that launch prints' },
  { name: 'shellcheck', programs: ['shellcheck'], packages: ['shellcheck'], why: 'npm run lint' },
  { name: 'xorriso', programs: ['xorriso'], packages: ['xorriso'], why: 'writes cloud-init seeds' },
  { name: 'nmap', programs: ['nmap'], packages: ['nmap'], why: 'scans the ports of test machines' },
  { name: 'python3', programs: ['python3'], packages: ['python3-minimal'], why: 'attacks are written in it' },
  { name: 'uidmap', programs: ['newuidmap', 'newgidmap'], packages: ['uidmap'], why: 'bootstraps without root' },
  { name: 'iproute2', programs: ['ip'], packages: ['iproute2'], why: 'builds the test network' },
  { name: 'ssh', programs: ['ssh', 'ssh-keygen'], packages: ['openssh-client'], why: 'keys of a bake, SSH tests' },
  { name: 'sgdisk', programs: ['sgdisk'], packages: ['gdisk'], why: 'partitions the disk' },
  { name: 'sfdisk', programs: ['sfdisk'], packages: ['fdisk'], why: "reads a disk's partitions" },
  { name: 'gpgv', programs: ['gpgv'], packages: ['gpgv'], why: "checks a vendor's signature" },
  { name: 'gpg', programs: ['gpg', 'gpgconf'], packages: ['gnupg'], why: 'signs as a vendor in tests' },
  { name: 'mkfs.vfat', programs: ['mkfs.vfat'], packages: ['dosfstools'], why: "the disk's EFI partition" },
  { name: 'mke2fs', programs: ['mke2fs', 'debugfs'], packages: ['e2fsprogs'], why: "the disk's file systems" },
  { name: 'aws', programs: ['aws'], packages: ['awscli'], why: "asks the tests' AWS as anybody would" },
  { name: 'hcloud', programs: ['hcloud'], packages: ['hcloud-cli'], why: "asks the tests' Hetzner as anybody would" },
  { name: 'zstd', programs: ['zstd'], packages: ['zstd'], why: 'compresses archives' },
  {
    name: 'util-linux',
    programs: ['unshare', 'nsenter', 'setpriv'],
    packages: ['util-linux'],
    why: 'namespaces; children that die with us',
  },
];

/** GiB that a bake and its tests need where the cache and `dist/` are: base, prepared and baked disk, logs, overlays. */
export const FREE_DISK_GIB = 12;
