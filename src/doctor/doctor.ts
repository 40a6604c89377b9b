import { EXIT } from '../process/errors.ts';
import { Progress } from '../process/progress.ts';
import { type Accelerator, kvmIsOpen, probeAccelerator } from './accelerator.ts';
import { type Check, guarded } from './check.ts';
import { docker } from './docker-checks.ts';
import {
  dependencies,
  freeDisk,
  kernel,
  machine,
  node,
  programs,
  rootlessLab,
  subordinateIds,
} from './machine-checks.ts';

export interface DoctorOptions {
  /** Print `{ok, accelerator, checks}` and only it on standard output. */
  json: boolean;
}

export interface Diagnosis {
  ok: boolean;
  accelerator: Accelerator;
  checks: Check[];
}

/**
 * Checks every prerequisite and says how to fix what is missing. Changes nothing but the cache, where the answer about
 * the accelerator is kept.
 *
 * @returns the exit code: 0, or EXIT.prerequisite when a check failed.
 */
export async function doctor(options: DoctorOptions): Promise<number> {
  const progress = new Progress();
  const diagnosis = await progress.step('doctor', ({ detail }) => diagnose(detail));
  process.stdout.write(options.json ? `${JSON.stringify(diagnosis, null, 2)}\n` : render(diagnosis));
  return diagnosis.ok ? 0 : EXIT.prerequisite;
}

/** Prints checks of something else than this machine. @returns the exit code. */
export function report(checks: Check[], json: boolean): number {
  const ok = checks.every((check) => check.ok);
  process.stdout.write(json ? `${JSON.stringify({ ok, checks }, null, 2)}\n` : render({ ok, checks }));
  return ok ? 0 : EXIT.prerequisite;
}

/** All checks, in the order in which they should be fixed. */
export async function diagnose(detail: (text: string) => void = () => {}): Promise<Diagnosis> {
  const suitable = machine();
  const static_ = [suitable, node(), dependencies(), ...programs(), ...freeDisk(), subordinateIds()];
  if (!suitable.ok) return { ok: false, accelerator: 'tcg', checks: static_ };
  detail('network lab');
  const lab = await guarded('rootless network lab', 'npm run setup', rootlessLab);
  detail('booting systemd in a container');
  const containers = await docker().catch((error): Check[] => [
    { name: 'docker answers', ok: false, fix: 'npm run setup', found: String(error) },
  ]);
  detail('booting a kernel under KVM');
  const { accelerator, check } = await accelerated();
  const checks = [...static_, lab, kernel(), ...containers, check];
  return { ok: checks.every(({ ok }) => ok), accelerator, checks };
}

/** Emulation always works, so only a wrong override fails; the check says why it isn't KVM. */
export async function accelerated(): Promise<{ accelerator: Accelerator; check: Check }> {
  let accelerator: Accelerator = 'tcg';
  const check = await guarded('accelerator', 'npm run setup', async () => {
    accelerator = await probeAccelerator({ fresh: true });
    const why = process.env.CLAWDY_ACCEL
      ? 'as CLAWDY_ACCEL says'
      : accelerator === 'kvm'
        ? 'a kernel booted under it'
        : kvmIsOpen()
          ? 'no kernel boots under KVM here; emulation is several times slower'
          : 'this user cannot open /dev/kvm; emulation is several times slower';
    return {
      name: 'accelerator',
      ok: true,
      fix: 'sudo usermod -aG kvm "$USER"  # then log in again',
      found: `${accelerator}: ${why}`,
    };
  });
  return { accelerator, check };
}

function render({ checks, ok }: Pick<Diagnosis, 'checks' | 'ok'>): string {
  const lines = checks.flatMap((check) => [
    `${check.ok ? '✔' : '✖'} ${check.name.padEnd(24)} ${check.found}`,
    ...(check.ok ? [] : [`    fix: ${check.fix}`]),
  ]);
  return `${lines.join('\n')}\n${ok ? 'all is there' : 'something is missing: see the fixes'}\n`;
}
