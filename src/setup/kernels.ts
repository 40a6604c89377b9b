import { accessSync, constants, existsSync, readdirSync } from 'node:fs';

/** A distribution kernel that libguestfs can boot its appliance from. */
export interface GuestKernel {
  /** Path of the kernel, e.g. /boot/vmlinuz-6.1.0-56-cloud-amd64. */
  image: string;
  version: string;
  /** Ubuntu installs its kernels with mode 0600, so that only root can read them. */
  readable: boolean;
}

/** Packages that bring such a kernel: the smallest of Debian, then Ubuntu's for virtual machines. */
export const KERNEL_PACKAGES = ['linux-image-cloud-amd64', 'linux-image-virtual', 'linux-image-amd64'];

/** The kernels in /boot that have their modules beside them, newest first. */
export function guestKernels(): GuestKernel[] {
  return readdirSync('/boot')
    .filter((name) => name.startsWith('vmlinuz-'))
    .map((name) => ({ image: `/boot/${name}`, version: name.slice('vmlinuz-'.length) }))
    .filter(({ version }) => existsSync(`/lib/modules/${version}/modules.dep`))
    .sort((a, b) => b.version.localeCompare(a.version, 'en', { numeric: true }))
    .map((kernel) => ({ ...kernel, readable: isReadable(kernel.image) }));
}

/** The newest kernel that this user may read, or undefined. */
export function readableKernel(): GuestKernel | undefined {
  return guestKernels().find(({ readable }) => readable);
}

function isReadable(file: string): boolean {
  try {
    accessSync(file, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}
