import {
  type _InstanceType,
  DescribeInstancesCommand,
  GetConsoleOutputCommand,
  type Instance,
  RunInstancesCommand,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2';
import { BuildError } from '../../process/errors.ts';
import { type Job, LABELS, labelsOf, type Probe, type ProbeInputs, type Registered } from '../cloud.ts';
import { codeOf, isDenied, isGone } from './errors.ts';
import { available } from './images.ts';
import { OURS, ofRun, tagsOf, tokenOf } from './labels.ts';
import type { Session } from './session.ts';

/**
 * 2 GiB, which OpenClaw wants, on Nitro, whose console can be read while a machine runs; the cheapest that has both,
 * and what to take where a zone is out of it.
 */
export const TYPES = ['t3.small', 't3a.small', 't3.medium', 'm5.large'] as const satisfies _InstanceType[];

/** No machine of this type in this place at the moment; another type may be had. */
const NO_CAPACITY = new Set([
  'InsufficientInstanceCapacity',
  'InsufficientHostCapacity',
  'Unsupported',
  'UnsupportedHostConfiguration',
]);

const OVER = new Set(['terminated', 'shutting-down']);

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
  const instanceId = await run(session, job, imageId, inputs.userData, attempt);
  job.note({ 'boot.instance': instanceId });
  return probeOf(session, region, instanceId);
}

async function run(session: Session, job: Job, imageId: string, userData: string, attempt: number): Promise<string> {
  const { region } = job;
  const Tags = tagsOf({ ...labelsOf(job), [LABELS.temporary]: 'yes', Name: `clawdy probe of ${job.image.id}` });
  for (const type of TYPES) {
    const instanceId = await session.ask(
      `booting ${imageId}`,
      async () => {
        try {
          const { Instances } = await session.ec2(region).send(
            new RunInstancesCommand({
              ImageId: imageId,
              InstanceType: type,
              MinCount: 1,
              MaxCount: 1,
              ClientToken: tokenOf(job.run, 'boot', region, attempt, type),
              // No instance profile: a box that was taken over finds nothing to take on.
              MetadataOptions: { HttpEndpoint: 'enabled', HttpTokens: 'required', HttpPutResponseHopLimit: 1 },
              InstanceInitiatedShutdownBehavior: 'terminate',
              UserData: Buffer.from(userData).toString('base64'),
              TagSpecifications: [
                { ResourceType: 'instance', Tags },
                { ResourceType: 'volume', Tags },
              ],
            }),
          );
          return Instances?.[0]?.InstanceId;
        } catch (error) {
          if (NO_CAPACITY.has(codeOf(error))) return undefined;
          throw error;
        }
      },
      { fresh: true, detail: job.detail },
    );
    if (instanceId) return instanceId;
    job.detail(`no ${type} to be had in ${region}`);
  }
  throw new BuildError(
    'aws',
    `${region} has no capacity for any of ${TYPES.join(', ')}`,
    'run the same command later: it goes on with the boot',
  );
}

function probeOf(session: Session, region: string, instanceId: string): Probe {
  let last = '';
  let latest = true;
  const console = () =>
    session.ask(
      `reading the console of ${instanceId}`,
      async () => {
        try {
          return await session
            .ec2(region)
            .send(new GetConsoleOutputCommand({ InstanceId: instanceId, Latest: latest }));
        } catch (error) {
          // Only Nitro machines give the console while they run; others when they like.
          if (codeOf(error) !== 'UnsupportedOperation' || !latest) throw error;
          latest = false;
          return session.ec2(region).send(new GetConsoleOutputCommand({ InstanceId: instanceId }));
        }
      },
      { fresh: true },
    );
  return {
    instanceId,
    transcript: async () => {
      const { Output } = await console();
      const text = Buffer.from(Output ?? '', 'base64').toString('utf8');
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
  const reason = instance?.StateReason?.Message;
  throw new BuildError(
    'aws',
    `${instanceId} is ${state ?? 'gone'}${reason ? `: ${reason}` : ''}`,
    'run the same command again: it boots another one',
  );
}

async function look(session: Session, region: string, instanceId: string): Promise<Instance | undefined> {
  const { Reservations } = await session.ec2(region).send(new DescribeInstancesCommand({ InstanceIds: [instanceId] }));
  return Reservations?.[0]?.Instances?.[0];
}

/** Machines that were booted to look at images, those of one run or all, and still cost. */
export async function probes(session: Session, region: string, run?: string): Promise<Instance[]> {
  return (await machines(session, region, run)).filter(({ State }) => !OVER.has(State?.Name ?? ''));
}

/** The same with those that are over, which AWS knows for an hour. */
export async function machines(session: Session, region: string, run?: string): Promise<Instance[]> {
  const found: Instance[] = [];
  let next: string | undefined;
  do {
    const page = await session.ask('listing machines', () =>
      session.ec2(region).send(
        new DescribeInstancesCommand({
          Filters: [OURS, { Name: `tag:${LABELS.temporary}`, Values: ['yes'] }, ...(run ? [ofRun(run)] : [])],
          MaxResults: 1000,
          NextToken: next,
        }),
      ),
    );
    found.push(...(page.Reservations ?? []).flatMap(({ Instances }) => Instances ?? []));
    next = page.NextToken;
  } while (next);
  return found;
}

/** Ends a machine, its disk with it, and waits until it is over; may be called twice. */
export async function terminate(session: Session, region: string, instanceId: string): Promise<void> {
  const remains = () =>
    session.ask(`looking at ${instanceId}`, async () => {
      try {
        return await look(session, region, instanceId);
      } catch (error) {
        if (isGone(error)) return undefined;
        throw error;
      }
    });
  await session.ask(`ending ${instanceId}`, async () => {
    try {
      await session.ec2(region).send(new TerminateInstancesCommand({ InstanceIds: [instanceId] }));
    } catch (error) {
      if (!isGone(error) && !(isDenied(error) && !(await remains()))) throw error;
    }
  });
  await session.until(`the end of ${instanceId}`, session.times.instance, async () => {
    const instance = await remains();
    return !instance || instance.State?.Name === 'terminated' ? true : undefined;
  });
}
