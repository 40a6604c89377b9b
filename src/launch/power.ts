import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Machines, OpenMachines } from '../clouds/machines.ts';
import { inputError, renderError } from '../process/errors.ts';
import { isAlive } from '../process/guarded.ts';
import type { Progress } from '../process/progress.ts';
import { startLocal } from './local/start.ts';
import { destroyLocal, forget, stopLocal } from './local/stop.ts';
import { machineDir } from './places.ts';
import { amendRecord, type InstanceRecord } from './records.ts';

/** Clouds whose machines this tool launches, beside this computer's. */
export const HOSTED = ['aws', 'hetzner'] as const;

/**
 * @param region undefined: the cloud's own default.
 * @throws BuildError (input) for another name, missing credentials, a wrong region.
 */
export async function openMachines(cloud: string, region?: string): Promise<Machines> {
  if (!(HOSTED as readonly string[]).includes(cloud))
    throw inputError('launch', `nothing is launched in ${JSON.stringify(cloud)}`, `local, ${HOSTED.join(' or ')}`);
  const { machines } = (await import(`../clouds/${cloud}/machines.ts`)) as { machines: OpenMachines };
  return machines(region);
}

async function withMachines<T>({ cloud, region }: InstanceRecord, use: (machines: Machines) => Promise<T>): Promise<T> {
  const machines = await openMachines(cloud, region ?? undefined);
  try {
    return await use(machines);
  } finally {
    machines.close();
  }
}

/** Switches an instance off; its disk and record stay, and `startInstance` brings it back. */
export async function stopInstance(record: InstanceRecord, progress: Progress): Promise<void> {
  const { cloud, instance_id: id, region } = record;
  if (cloud === 'local') return stopLocal(record, progress);
  elsewhere(record);
  await progress.step(`stop ${id}`, () => withMachines(record, (all) => all.power(region as string, id, false)));
}

/** Switches an instance on again; where it has another address then, its record says so. */
export async function startInstance(record: InstanceRecord, progress: Progress): Promise<void> {
  const { cloud, instance_id: id, region, ssh } = record;
  if (cloud === 'local') return startLocal(record, progress);
  elsewhere(record);
  const { address } = await progress.step(`start ${id}`, () =>
    withMachines(record, (all) => all.power(region as string, id, true)),
  );
  if (!address || address === record.address) return;
  writeFileSync(join(machineDir(id), 'known_hosts'), `[${address}]:${ssh.port} ${ssh.host_key}\n`, { mode: 0o600 });
  amendRecord(id, { address });
}

/** Ends an instance for good: its machine with its disk, what was made for it in its cloud, then its record; can be repeated. */
export async function destroyInstance(record: InstanceRecord, progress: Progress): Promise<void> {
  const { cloud, instance_id: id, region } = record;
  if (cloud === 'local') return destroyLocal(record, progress);
  if (cloud !== 'other')
    await progress.step(`destroy ${id}`, () =>
      withMachines(record, async (all) => {
        await all.destroy(region as string, id);
        // A machine that is gone may have taken along what leads to its firewall.
        if (record.run) await all.sweep(region as string, record.run);
      }),
    );
  forget(id);
}

/**
 * Whether each runs, in the records' order; null where that isn't seen from here. Each cloud is asked once a region.
 */
export async function whichRun(records: InstanceRecord[], open = openMachines): Promise<(boolean | null)[]> {
  const places = new Map<string, InstanceRecord>();
  for (const record of records) if (record.region) places.set(`${record.cloud} ${record.region}`, record);
  const running = new Set<string>();
  const unseen = new Set<string>();
  for (const [place, { cloud, region }] of places) {
    try {
      const machines = await open(cloud, region as string);
      try {
        for (const { instanceId, state } of await machines.list(region as string))
          if (state === 'running' || state === 'starting') running.add(instanceId);
      } finally {
        machines.close();
      }
    } catch (error) {
      // One cloud's credentials are no reason to say nothing of the others.
      process.stderr.write(`${renderError(error)}\n`);
      unseen.add(place);
    }
  }
  return records.map(({ qemu, cloud, region, instance_id }) => {
    if (qemu) return isAlive(qemu);
    return region && !unseen.has(`${cloud} ${region}`) ? running.has(instance_id) : null;
  });
}

function elsewhere({ cloud, instance_id: id }: InstanceRecord): void {
  if (cloud === 'other') throw inputError('launch', `${id} was launched by other means`, 'switch it where it is');
}
