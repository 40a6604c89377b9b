import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { access, constants } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { cacheRoot } from '../plan/cache.ts';

export type Accelerator = 'kvm' | 'tcg';

/** QEMU's CPU and accelerator flags for one of the two, in pairs. */
export function cpuArgs(accelerator: Accelerator): string[] {
  return accelerator === 'kvm' ? ['-accel', 'kvm', '-cpu', 'host'] : ['-accel', 'tcg,thread=multi', '-cpu', 'max'];
}
