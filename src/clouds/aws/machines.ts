import { DeleteTagsCommand, type Instance, StartInstancesCommand, StopInstancesCommand } from '@aws-sdk/client-ec2';
import { BuildError, inputError } from '../../process/errors.ts';
import { LABELS, OWNER } from '../cloud.ts';
import {
  type LaunchJob,
  launchLabels,
  type Machine,
  type MachineState,
  type Machines,
  type Opening,
  type OpenMachines,
  type Start,
} from '../machines.ts';
import { consoleOf } from './console.ts';
import { codeOf } from './errors.ts';
import { deleteGroup, ensureGroup, groupsOfRun } from './groups.ts';
import { instanceOf, isOver, look, ourInstances, overError, runInstance, terminate } from './instances.ts';
import { LAUNCHED, labelsFrom, ofRun, tokenOf } from './labels.ts';
import { setRules } from './rules.ts';
import { openSession, type Session } from './session.ts';
import { TIMES, type Times } from './times.ts';

const STATES: Record<string, MachineState> = {
  pending: 'starting',
  running: 'running',
  stopping: 'stopped',
  stopped: 'stopped',
};

const LAUNCH_ANEW = 'launch anew';

/** Machines of EC2, each with a security group of its own (docs/clouds/aws.md). */
export const machines: OpenMachines = (region) => openMachines(region, TIMES);

/**
 * The same with waits of one's own.
 * @throws BuildError (input) without a region or credentials.
 */
export async function openMachines(region: string | undefined, times: Times): Promise<Machines> {
  const session = await openSession(region ? [region] : [], times);
  return {
    name: 'aws',
    region: session.regions[0],
    start: (job, wanted) => start(session, job, wanted),
    machine: async (at, id) => {
      const instance = await launched(session, at, id);
      return instance && asMachine(at, instance);
    },
    list: async (at) =>
      (await ourInstances(session, at, [LAUNCHED])).filter(isThere).map((instance) => asMachine(at, instance)),
    console: (at, id) => saidBy(session, at, id),
    open: (at, id, openings) => open(session, at, id, openings),
    keep: (at, id) => keep(session, at, id),
    power: async (at, id, on) => {
      await present(session, at, id);
      return bring(session, at, id, on);
    },
    destroy: (at, id) => destroy(session, at, id),
    sweep: (at, run) => sweep(session, at, run),
    close: session.close,
  };
}

/** @see Machines.start: the same run with the same user-data gets the same machine, for as long as its group is there. */
async function start(session: Session, job: LaunchJob, { image, userData, size, name }: Start): Promise<Machine> {
  const { region, run, detail } = job;
  if (image.region !== region)
    throw inputError('aws', `${image.imageId} is in ${image.region}, not in ${region}`, 'launch where the image is');
  const labels = { ...launchLabels(job, { image }), Name: name };
  // A machine of another type than a repeated call would begin with, where there was no capacity, has another token.
  const [known] = (await ofThatRun(session, region, run)).filter((instance) => !isOver(instance));
  let id = known?.InstanceId;
  if (!id) {
    const groupId = await ensureGroup(session, region, run, labels, detail);
    await setRules(session, region, groupId, []);
    // With the group, since AWS gives for a token of a swept run the machine that is over for another day.
    const token = (type: string) => tokenOf(run, 'launch', region, groupId, type);
    const wanted = { region, imageId: image.imageId, size, userData, labels, token, groupId, detail };
    id = await runInstance(session, { ...wanted, onShutdown: 'stop' });
  }
  detail(`${id} starts`);
  return bring(session, region, id, true);
}

/** What was launched and isn't over; others' machines aren't there for whoever asks here. */
async function launched(session: Session, region: string, instanceId: string): Promise<Instance | undefined> {
  const instance = await instanceOf(session, region, instanceId);
  return instance && isThere(instance) && isLaunched(instance) ? instance : undefined;
}

/** @throws BuildError when it is gone. */
async function present(session: Session, region: string, instanceId: string): Promise<Instance> {
  const instance = await launched(session, region, instanceId);
  if (!instance || isOver(instance)) throw overError(instanceId, instance, LAUNCH_ANEW);
  return instance;
}

function ofThatRun(session: Session, region: string, run: string): Promise<Instance[]> {
  return ourInstances(session, region, [LAUNCHED, ofRun(run)]);
}

function isThere({ State }: Instance): boolean {
  return State?.Name !== 'terminated';
}

function isLaunched({ Tags }: Instance): boolean {
  const labels = labelsFrom(Tags);
  return labels[LABELS.owner] === OWNER && labels[LABELS.launched] === 'yes';
}

function asMachine(region: string, instance: Instance): Machine {
  const labels = labelsFrom(instance.Tags);
  return {
    region,
    instanceId: instance.InstanceId as string,
    address: addressOf(instance),
    state: STATES[instance.State?.Name ?? ''] ?? 'gone',
    image: labels[LABELS.image] ?? '',
    run: labels[LABELS.run] ?? '',
    created: createdOf(instance).toISOString(),
    temporary: labels[LABELS.temporary] === 'yes',
  };
}

function addressOf({ PublicIpAddress, Ipv6Address }: Instance): string | undefined {
  return PublicIpAddress || Ipv6Address || undefined;
}

/** LaunchTime is of the last start; the interface has been there since the first. */
function createdOf({ NetworkInterfaces, LaunchTime }: Instance): Date {
  const first = NetworkInterfaces?.find(({ Attachment }) => Attachment?.DeviceIndex === 0);
  return first?.Attachment?.AttachTime ?? LaunchTime ?? new Date(0);
}

/** @see Machines.console */
async function saidBy(session: Session, region: string, instanceId: string): Promise<string> {
  const text = await consoleOf(session, region, instanceId);
  const instance = await session.ask(`looking at ${instanceId}`, () => look(session, region, instanceId), {
    fresh: true,
  });
  // The console of a machine that ended stays readable for an hour; who waits for more would wait in vain.
  if (!instance || isOver(instance)) throw overError(instanceId, instance, LAUNCH_ANEW);
  return text;
}

/** @see Machines.open */
async function open(session: Session, region: string, instanceId: string, openings: Opening[]): Promise<void> {
  const { [LABELS.run]: run = '' } = labelsFrom((await present(session, region, instanceId)).Tags);
  const [group] = await groupsOfRun(session, region, run);
  if (!group?.GroupId) throw new BuildError('aws', `${instanceId} has no security group of its own`, LAUNCH_ANEW);
  await setRules(session, region, group.GroupId, openings);
}

/** One call for all, so that no kill leaves a kept machine with a temporary group. @see Machines.keep */
async function keep(session: Session, region: string, instanceId: string): Promise<void> {
  const { Tags, BlockDeviceMappings = [], RootDeviceName } = await present(session, region, instanceId);
  const groups = await groupsOfRun(session, region, labelsFrom(Tags)[LABELS.run] ?? '');
  const Resources = [
    instanceId,
    // Disks that somebody attached later have no label of ours.
    ...BlockDeviceMappings.flatMap(({ DeviceName, Ebs }) => (DeviceName === RootDeviceName && Ebs?.VolumeId) || []),
    ...groups.flatMap(({ GroupId }) => GroupId ?? []),
  ];
  await session.ask(`keeping ${instanceId}`, () =>
    session.ec2(region).send(new DeleteTagsCommand({ Resources, Tags: [{ Key: LABELS.temporary }] })),
  );
}

/** Switches a machine on or off and waits until it is so; on is with an address. */
async function bring(session: Session, region: string, instanceId: string, on: boolean): Promise<Machine> {
  const ec2 = session.ec2(region);
  const InstanceIds = [instanceId];
  const [from, to] = on ? ['stopped', 'running'] : ['running', 'stopped'];
  let runsSince: number | undefined;
  return session.until(`${instanceId} to be ${to}`, session.times.instance, async () => {
    const instance = await session.ask(`looking at ${instanceId}`, () => look(session, region, instanceId), {
      fresh: true,
    });
    if (!instance || isOver(instance)) throw overError(instanceId, instance, LAUNCH_ANEW);
    const state = instance.State?.Name;
    if (state === to && (!on || addressOf(instance))) return asMachine(region, instance);
    if (state === 'running' && on) {
      runsSince ??= performance.now();
      if (performance.now() - runsSince > session.times.fresh) throw addressless(instanceId);
    }
    if (state === from)
      await session.ask(`switching ${instanceId} ${on ? 'on' : 'off'}`, async () => {
        try {
          await (on
            ? ec2.send(new StartInstancesCommand({ InstanceIds }))
            : ec2.send(new StopInstancesCommand({ InstanceIds })));
        } catch (error) {
          // What was described was old, or somebody else switches: the next look shows it.
          if (codeOf(error) !== 'IncorrectInstanceState') throw error;
        }
      });
    return undefined;
  });
}

function addressless(instanceId: string): BuildError {
  return new BuildError(
    'aws',
    `${instanceId} runs and has no public address`,
    "let the default VPC's subnets give them: aws ec2 modify-subnet-attribute --map-public-ip-on-launch",
  );
}

/** @see Machines.destroy: AWS takes the labels of a machine that is over away, so what then is left is `sweep`'s. */
async function destroy(session: Session, region: string, instanceId: string): Promise<void> {
  const instance = await instanceOf(session, region, instanceId);
  if (!instance || (!isThere(instance) && !isLaunched(instance))) return;
  if (!isLaunched(instance))
    throw inputError('aws', `${instanceId} wasn't launched here`, "end it with AWS' own tools, if it is to go");
  await terminate(session, region, instanceId);
  await dropGroups(session, region, labelsFrom(instance.Tags)[LABELS.run] ?? '');
}

/** @see Machines.sweep */
function sweep(session: Session, region: string, run: string): Promise<void> {
  return dropGroups(session, region, run, true);
}

/**
 * Removes the groups of a run that no machine of it has any more.
 * @param machines also ends the run's temporary machines, each time anew: one that was started a moment ago isn't listed
 *   everywhere yet, and shows by its group, which can't be deleted.
 */
async function dropGroups(session: Session, region: string, run: string, machines = false): Promise<void> {
  await session.until(`the end of ${run}`, session.times.instance, async () => {
    const living = (await ofThatRun(session, region, run)).filter(isThere);
    const isTemporary = ({ Tags }: Instance) => labelsFrom(Tags)[LABELS.temporary] === 'yes';
    const ending = living.filter((instance) => isOver(instance) || (machines && isTemporary(instance)));
    for (const { InstanceId } of ending) if (InstanceId) await terminate(session, region, InstanceId);
    if (living.length > ending.length) return true;
    const groups = await groupsOfRun(session, region, run);
    const gone = await Promise.all(groups.map(({ GroupId = '' }) => deleteGroup(session, region, GroupId)));
    return gone.every(Boolean) || undefined;
  });
}
