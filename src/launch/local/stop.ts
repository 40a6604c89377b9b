import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { BuildError } from '../../process/errors.ts';
import { isAlive } from '../../process/guarded.ts';
import type { Progress } from '../../process/progress.ts';
import { Qmp } from '../../verify/lab/qmp.ts';
import { machineDir } from '../places.ts';
import { type InstanceRecord, removeRecord } from '../records.ts';

/** Milliseconds: an emulated guest takes up to half a minute to stop all its services. */
const LIMITS = { answer: 10_000, powerdown: 120_000, quit: 10_000 };

/** Shuts a machine down; its disk and record stay. One that is off already is fine. A QEMU that doesn't answer is killed. */
export async function stopLocal(
  { instance_id: id, qemu }: InstanceRecord,
  progress: Progress,
  limits = LIMITS,
): Promise<void> {
  if (qemu) await endMachine(id, qemu, progress, limits);
}

/** Ends an instance of this computer for good: its machine, its disk, its record, in this order, so that it can be repeated. */
export async function destroyLocal(record: InstanceRecord, progress: Progress, limits = LIMITS): Promise<void> {
  await stopLocal(record, progress, limits);
  forget(record.instance_id);
}

/** Removes an instance's record, and what lies beside it. */
export function forget(id: string): void {
  rmSync(machineDir(id), { recursive: true, force: true });
  removeRecord(id);
}

async function endMachine(
  id: string,
  qemu: NonNullable<InstanceRecord['qemu']>,
  progress: Progress,
  limits: typeof LIMITS,
): Promise<void> {
  await progress.step(`stop ${id}`, async (step) => {
    const alive = () => isAlive(qemu);
    if (alive()) {
      const qmp = await Qmp.open(qemu.qmp, alive, limits.answer).catch(() => undefined);
      try {
        step.detail('the power button was pressed; the guest shuts down');
        // Each may end QEMU before it has answered.
        await qmp?.execute('system_powerdown', {}, limits.answer).catch(() => undefined);
        if (qmp && (await ended(alive, limits.powerdown))) return;
        await qmp?.execute('quit', {}, limits.answer).catch(() => undefined);
        if (qmp && (await ended(alive, limits.quit))) return;
      } finally {
        qmp?.close();
      }
      // Looked up again by its start time, so that a later process with this number isn't hit.
      if (alive()) process.kill(qemu.pid, 'SIGKILL');
      if (!(await ended(alive, limits.quit))) {
        throw new BuildError('stop', `QEMU of ${id} (process ${qemu.pid}) doesn't end`, 'end it by hand and repeat');
      }
    }
  });
}

async function ended(alive: () => boolean, limitMs: number): Promise<boolean> {
  const until = Date.now() + limitMs;
  while (alive() && Date.now() < until) await sleep(100);
  return !alive();
}
