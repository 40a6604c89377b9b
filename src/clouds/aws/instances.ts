import {
  type _InstanceType,
  DescribeInstancesCommand,
  type Filter,
  type Instance,
  RunInstancesCommand,
  type RunInstancesCommandInput,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2';
import { BuildError, inputError } from '../../process/errors.ts';
import { codeOf, explain, isDenied, isGone } from './errors.ts';
import { OURS, tagsOf } from './labels.ts';
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

export interface Wanted {
  region: string;
  imageId: string;
  /** As EC2 names it; undefined: the first of TYPES that can be had. */
  size?: string | undefined;
  /** The whole of it, as text. */
  userData: string;
  /** Of the machine and its disk. */
  labels: Record<string, string>;
  /** Client token for a type: the same call again makes nothing twice. */
  token(type: string): string;
  onShutdown: 'stop' | 'terminate';
  /** Undefined: the default VPC's own. */
  groupId?: string;
  detail(text: string): void;
}

/**
 * Starts a machine, in the default VPC, without a role and without a key of AWS'.
 * @returns its ID; it may not run yet.
 * @throws BuildError where none can be had; (input) for a size that AWS doesn't take.
 */
export async function runInstance(session: Session, wanted: Wanted): Promise<string> {
  const { region, imageId, size, detail } = wanted;
  const what = `booting ${imageId}`;
  const types = size ? [size as _InstanceType] : TYPES;
  for (const type of types) {
    const call = async () => {
      try {
        const { Instances } = await session.ec2(region).send(new RunInstancesCommand(requestFor(wanted, type)));
        return Instances?.[0]?.InstanceId;
      } catch (error) {
        if (NO_CAPACITY.has(codeOf(error))) return undefined;
        if (size && codeOf(error) === 'InvalidParameterValue')
          throw inputError('aws', explain(error, what).message, 'name a size of EC2 for x86_64, such as t3.small');
        throw error;
      }
    };
    const instanceId = await session.ask(what, call, { fresh: true, detail });
    if (instanceId) return instanceId;
    detail(`no ${type} to be had in ${region}`);
  }
  throw new BuildError(
    'aws',
    `${region} has no capacity for any of ${types.join(', ')}`,
    `run the same command later${size ? ', or name another size' : ''}`,
  );
}

function requestFor(wanted: Wanted, type: _InstanceType): RunInstancesCommandInput {
  const Tags = tagsOf(wanted.labels);
  return {
    ImageId: wanted.imageId,
    InstanceType: type,
    MinCount: 1,
    MaxCount: 1,
    ClientToken: wanted.token(type),
    ...(wanted.groupId ? { SecurityGroupIds: [wanted.groupId] } : {}),
    // No instance profile: a box that was taken over finds nothing to take on.
    MetadataOptions: { HttpEndpoint: 'enabled', HttpTokens: 'required', HttpPutResponseHopLimit: 1 },
    InstanceInitiatedShutdownBehavior: wanted.onShutdown,
    UserData: Buffer.from(wanted.userData).toString('base64'),
    TagSpecifications: [
      { ResourceType: 'instance', Tags },
      { ResourceType: 'volume', Tags },
    ],
  };
}

/** One machine as AWS describes it. @throws the API's error when there is none. */
export async function look(session: Session, region: string, instanceId: string): Promise<Instance | undefined> {
  const { Reservations } = await session.ec2(region).send(new DescribeInstancesCommand({ InstanceIds: [instanceId] }));
  return Reservations?.[0]?.Instances?.[0];
}

/** The same; undefined when there is none. */
export function instanceOf(session: Session, region: string, instanceId: string): Promise<Instance | undefined> {
  return session.ask(`looking at ${instanceId}`, async () => {
    try {
      return await look(session, region, instanceId);
    } catch (error) {
      if (isGone(error)) return undefined;
      throw error;
    }
  });
}

/** Our machines, also those that are over, which AWS knows for an hour. */
export async function ourInstances(session: Session, region: string, filters: Filter[]): Promise<Instance[]> {
  const found: Instance[] = [];
  let next: string | undefined;
  do {
    const page = await session.ask('listing machines', () =>
      session
        .ec2(region)
        .send(new DescribeInstancesCommand({ Filters: [OURS, ...filters], MaxResults: 1000, NextToken: next })),
    );
    found.push(...(page.Reservations ?? []).flatMap(({ Instances }) => Instances ?? []));
    next = page.NextToken;
  } while (next);
  return found;
}

/** Whether it ended, or is about to: it costs nothing any more. */
export function isOver({ State }: Instance): boolean {
  return State?.Name === 'terminated' || State?.Name === 'shutting-down';
}

/** A machine that isn't there (any more), in AWS' own words where it has some. */
export function overError(instanceId: string, instance: Instance | undefined, hint: string): BuildError {
  const reason = instance?.StateReason?.Message;
  return new BuildError(
    'aws',
    `${instanceId} is ${instance?.State?.Name ?? 'gone'}${reason ? `: ${reason}` : ''}`,
    hint,
  );
}

/** Ends a machine, its disk with it, and waits until it is over; may be called twice. */
export async function terminate(session: Session, region: string, instanceId: string): Promise<void> {
  const remains = () => instanceOf(session, region, instanceId);
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
