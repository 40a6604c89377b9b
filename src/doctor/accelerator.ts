import { accessSync, constants, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { dirname, join } from 'node:path';
import { cacheRoot } from '../plan/cache.ts';
import { inputError } from '../process/errors.ts';
import { run } from '../process/run.ts';
import { readableKernel } from '../setup/kernels.ts';

export type Accelerator = 'kvm' | 'tcg';

/** A kernel that works says its last words after one to two seconds; one that hangs says nothing for ever. */
const PROBE_LIMIT_S = 20;

/** Without a root file system a kernel that got through all of its own start ends with this line. */
const LAST_WORDS = /Unable to mount root fs/;

/** QEMU's CPU and accelerator flags for one of the two, in pairs. */
export function cpuArgs(accelerator: Accelerator): string[] {
  return accelerator === 'kvm' ? ['-accel', 'kvm', '-cpu', 'host'] : ['-accel', 'tcg,thread=multi', '-cpu', 'max'];
}

/**
 * Which accelerator really works here. `/dev/kvm` alone proves nothing: some hosts have it and yet no stock kernel gets
 * through its decompressor, or QEMU aborts. So a distribution kernel is booted under KVM, once; the answer is kept in the
 * cache for this QEMU and this host kernel. `CLAWDY_ACCEL=kvm|tcg` overrides both.
 *
 * @param options.fresh probe even if an answer is kept (doctor does).
 * @throws BuildError (input) when CLAWDY_ACCEL is something else.
 */
export async function probeAccelerator(options: { fresh?: boolean } = {}): Promise<Accelerator> {
  const wish = process.env.CLAWDY_ACCEL;
  if (wish === 'kvm' || wish === 'tcg') return wish;
  if (wish) throw inputError('accelerator', `CLAWDY_ACCEL is '${wish}'`, 'set it to kvm or tcg, or unset it');
  if (!kvmIsOpen()) return 'tcg';
  const kernel = readableKernel();
  // Nothing to boot, so nothing is known: emulation always works, and the question stays open.
  if (!kernel) return 'tcg';
  const key = `${await qemuVersion()}, host ${release()}, guest ${kernel.version}`;
  const kept = options.fresh ? undefined : recall(key);
  if (kept) return kept;
  const accelerator = (await bootsUnderKvm(kernel.image)) ? 'kvm' : 'tcg';
  remember(key, accelerator);
  return accelerator;
}

/** True when this user may open the KVM device; says nothing about whether it works. */
export function kvmIsOpen(): boolean {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

async function bootsUnderKvm(image: string): Promise<boolean> {
  const machine = [
    '-machine',
    'q35',
    ...cpuArgs('kvm'),
    '-m',
    '512',
    '-nodefaults',
    '-display',
    'none',
    '-serial',
    'stdio',
    '-no-reboot',
  ];
  const args = [...machine, '-kernel', image, '-append', 'console=ttyS0 panic=-1'];
  // timeout(1) ends QEMU with the limit and its output still arrives; any end will do (-1: by a signal), only the words count.
  const { stdout } = await run('timeout', ['-k', '2', String(PROBE_LIMIT_S), 'qemu-system-x86_64', ...args], {
    step: 'accelerator',
    ok: [-1, ...Array(256).keys()],
    hint: 'CLAWDY_ACCEL=tcg skips the probe',
  });
  return LAST_WORDS.test(stdout);
}

async function qemuVersion(): Promise<string> {
  const { stdout } = await run('qemu-system-x86_64', ['--version'], { step: 'accelerator', hint: 'npm run setup' });
  return stdout.split('\n')[0] ?? '';
}

const file = () => join(cacheRoot(), 'accelerator.json');

function recall(key: string): Accelerator | undefined {
  try {
    const kept = JSON.parse(readFileSync(file(), 'utf8'));
    return kept.key === key && (kept.accelerator === 'kvm' || kept.accelerator === 'tcg')
      ? kept.accelerator
      : undefined;
  } catch {
    return undefined; // nothing kept yet, or half written
  }
}

function remember(key: string, accelerator: Accelerator): void {
  mkdirSync(dirname(file()), { recursive: true });
  writeFileSync(file(), `${JSON.stringify({ key, accelerator })}\n`);
}
