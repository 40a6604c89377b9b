/** What the tests of launching on AWS share: a published image, launches that tell, and ends that are sudden. */
import { randomBytes } from 'node:crypto';
import type { ExecutionContext } from 'ava';
import { openMachines } from '../../src/clouds/aws/machines.ts';
import type { Times } from '../../src/clouds/aws/times.ts';
import type { CloudImage } from '../../src/clouds/cloud.ts';
import type { LaunchJob, Machines, Start } from '../../src/clouds/machines.ts';
import type { FakeAws } from '../fakes/aws/index.ts';
import type { FakeGroup, FakeInstance } from '../fakes/aws/state.ts';
import { disk, FAST, jobOf, openCloud, publish, REGION } from './aws-fixture.ts';

export const USER_DATA = '#cloud-config\nsecret: one-time-token-of-the-launch\n';

export async function opened(t: ExecutionContext, times: Partial<Times> = {}): Promise<Machines> {
  const machines = await openMachines(undefined, { ...FAST, ...times });
  t.teardown(() => machines.close());
  return machines;
}

/** An image in the account, as its cloud lists it. */
export async function published(t: ExecutionContext): Promise<CloudImage> {
  const cloud = await openCloud(t);
  const { imageId } = await publish(cloud, jobOf(await disk()));
  return (await cloud.list(REGION)).find((image) => image.imageId === imageId) as CloudImage;
}

export function launchJob(run = `launch-${randomBytes(4).toString('hex')}`): LaunchJob & { told: string[] } {
  const told: string[] = [];
  return { run, region: REGION, told, detail: (text) => void told.push(text) };
}

export const startOf = (image: CloudImage, more: Partial<Start> = {}): Start => ({
  ...{ image, userData: USER_DATA, name: 'claw-1' },
  ...more,
});

/** What is there of launches: kinds, without the image and its snapshot. */
export function left(fake: FakeAws): string[] {
  return fake.live().flatMap(({ kind }) => (kind === 'instance' || kind === 'security-group' ? [kind] : []));
}

export function instance(fake: FakeAws, id: string): FakeInstance {
  return fake.region(REGION).instances.get(id) as FakeInstance;
}

/** The group of a run. */
export function group(fake: FakeAws, run: string): FakeGroup {
  return [...fake.region(REGION).groups.values()].find(({ name }) => name === `clawdy-${run}`) as FakeGroup;
}

/** `port cidr` of each rule of a run's group. */
export function letIn(fake: FakeAws, run: string): string[] {
  return group(fake, run)
    .ingress.map(({ protocol, from, to, cidr }) => `${protocol} ${from === to ? from : `${from}-${to}`} ${cidr}`)
    .sort();
}

/**
 * Does something that dies after each of its calls in turn: that call takes effect, none after it does.
 * @param prepare what is there before, made anew each time.
 * @param dies with machines whose every next call fails.
 * @param after looks at what is left, alive again.
 * @returns the calls that were died after.
 */
export async function dying<S>(
  t: ExecutionContext,
  fake: FakeAws,
  prepare: () => Promise<S>,
  dies: (machines: Machines, scene: S) => Promise<unknown>,
  after: (scene: S, where: string) => Promise<void>,
): Promise<string[]> {
  const died: string[] = [];
  for (let at = 0; ; at++) {
    const scene = await prepare();
    const first = fake.calls.length;
    let last: string | undefined;
    fake.fault = (name, index) => {
      if (index - first < at) return undefined;
      const isLast = index - first === at;
      if (isLast) last = name;
      return { kind: 'reset', after: isLast };
    };
    // It gives up at once, as the dead do; what it tries again until then takes no effect.
    const machines = await opened(t, { retry: 1 });
    const isDone = await dies(machines, scene).then(
      () => true,
      () => false,
    );
    fake.fault = undefined;
    machines.close();
    await after(scene, `after ${last ?? 'the end'} (${at})`);
    if (isDone || !last) return died;
    died.push(last);
  }
}
