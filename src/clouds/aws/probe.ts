import type { Instance } from '@aws-sdk/client-ec2';
import { type Job, LABELS, labelsOf, type Probe, type ProbeInputs, type Registered } from '../cloud.ts';
import { consoleOf } from './console.ts';
import { available } from './images.ts';
import { isOver, look, ourInstances, overError, runInstance, terminate } from './instances.ts';
import { labelsFrom, ofRun, TEMPORARY, tokenOf } from './labels.ts';
import type { Session } from './session.ts';

/**
 * Boots the image on a machine of its own, in the default VPC's default security group, which lets nobody in from
 * outside; its console is read through AWS' API.
 * @see Cloud.boot
 */
export async function boot(session: Session, job: Job, { imageId }: Registered, inputs: ProbeInputs): Promise<Probe> {
  const { region } = job;
  // The user-data has another token in each run, so a machine of an interrupted one is of no use.
  for (const { InstanceId } of await probes(session, region, job.run))
    if (InstanceId) await terminate(session, region, InstanceId);
  await available(session, job, imageId);
  const attempt = Number(job.notes['boot.attempt'] ?? 0) + 1;
  job.note({ 'boot.attempt': String(attempt), 'boot.instance': '' });
  const instanceId = await runInstance(session, {
    ...{ region, imageId, userData: inputs.userData, onShutdown: 'terminate' },
    labels: { ...labelsOf(job), [LABELS.temporary]: 'yes', Name: `clawdy probe of ${job.image.id}` },
    token: (type) => tokenOf(job.run, 'boot', region, attempt, type),
    detail: job.detail,
  });
  job.note({ 'boot.instance': instanceId });
  return probeOf(session, region, instanceId);
}

function probeOf(session: Session, region: string, instanceId: string): Probe {
  let last = '';
  return {
    instanceId,
    transcript: async () => {
      const text = await consoleOf(session, region, instanceId);
      // A machine that says nothing new may be gone; the console of one that is gone stays readable for an hour.
      if (text === last) await assertAlive(session, region, instanceId);
      last = text;
      return text;
    },
    remove: () => terminate(session, region, instanceId),
  };
}

async function assertAlive(session: Session, region: string, instanceId: string): Promise<void> {
  const instance = await session.ask(`looking at ${instanceId}`, () => look(session, region, instanceId), {
    fresh: true,
  });
  const state = instance?.State?.Name;
  if (state === 'pending' || state === 'running') return;
  throw overError(instanceId, instance, 'run the same command again: it boots another one');
}

/** Machines that were booted to look at images, those of one run or all, and still cost. */
export async function probes(session: Session, region: string, run?: string): Promise<Instance[]> {
  return (await allProbes(session, region, run)).filter((instance) => !isOver(instance));
}

/** The same with those that are over. A launch that is on its way is temporary too, and none of them. */
export async function allProbes(session: Session, region: string, run?: string): Promise<Instance[]> {
  const found = await ourInstances(session, region, [TEMPORARY, ...(run ? [ofRun(run)] : [])]);
  return found.filter(({ Tags }) => labelsFrom(Tags)[LABELS.launched] !== 'yes');
}
