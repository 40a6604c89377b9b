/** Bytes in a MiB. */
export const MiB = 1024 * 1024;

interface Partition {
  number: number;
  label: string;
  /** GPT type code as sgdisk knows it. */
  type: string;
  /** MiB from the start of the disk. */
  start: number;
  /** MiB. */
  size: number;
}

/**
 * The disk of a bootstrapped base, in MiB. 4 GiB in all, since clouds count whole GiB: about 1.3 GiB are used, the
 * root keeps room for logs, and the state partition is last so that it can grow with the volume.
 */
export const DISK_MIB = 4096;

export const LAYOUT: Record<'bios' | 'efi' | 'root' | 'state', Partition> = {
  // GRUB's core image for BIOS machines lives here (GNU GRUB manual, "BIOS installation").
  bios: { number: 1, label: 'bios', type: 'ef02', start: 1, size: 1 },
  efi: { number: 2, label: 'efi', type: 'ef00', start: 2, size: 62 },
  root: { number: 3, label: 'clawdy-root', type: '8304', start: 64, size: 3072 },
  // One MiB stays free at the end for the backup GPT.
  state: { number: 4, label: 'clawdy-state', type: '8300', start: 3136, size: DISK_MIB - 3136 - 1 },
};
