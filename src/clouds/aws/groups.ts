import {
  CreateSecurityGroupCommand,
  DeleteSecurityGroupCommand,
  DescribeSecurityGroupsCommand,
  type Filter,
  type SecurityGroup,
} from '@aws-sdk/client-ec2';
import { BuildError } from '../../process/errors.ts';
import { codeOf, isDenied, isGone } from './errors.ts';
import { LAUNCHED, OURS, ofRun, tagsOf } from './labels.ts';
import type { Session } from './session.ts';

/** Security groups of launches: each machine has one of its own, which goes with it. */

/** Those of one run; more than one only where somebody else labelled one. */
export function groupsOfRun(session: Session, region: string, run: string): Promise<SecurityGroup[]> {
  return ourGroups(session, region, [LAUNCHED, ofRun(run)]);
}

async function ourGroups(session: Session, region: string, filters: Filter[]): Promise<SecurityGroup[]> {
  const found: SecurityGroup[] = [];
  let next: string | undefined;
  do {
    const page = await session.ask('listing security groups', () =>
      session
        .ec2(region)
        .send(new DescribeSecurityGroupsCommand({ Filters: [OURS, ...filters], MaxResults: 1000, NextToken: next })),
    );
    found.push(...(page.SecurityGroups ?? []));
    next = page.NextToken;
  } while (next);
  return found;
}

/**
 * The run's group in the default VPC, made if there is none; it lets nobody in until rules say so.
 * @returns its ID.
 */
export async function ensureGroup(
  session: Session,
  region: string,
  run: string,
  labels: Record<string, string>,
  detail: (text: string) => void,
): Promise<string> {
  // CreateSecurityGroup has no client token: the name, unique in its VPC, is what keeps it from being made twice.
  const GroupName = `clawdy-${run}`;
  // One whose making was answered with "duplicate" may not be listed everywhere yet.
  return session.until(`security group ${GroupName}`, session.times.fresh, async () => {
    const [known] = await groupsOfRun(session, region, run);
    if (known?.GroupId) return known.GroupId;
    return session.ask(
      `making security group ${GroupName}`,
      async () => {
        try {
          const { GroupId } = await session.ec2(region).send(
            new CreateSecurityGroupCommand({
              GroupName,
              Description: `Whom the machine of ${run} lets in`,
              TagSpecifications: [{ ResourceType: 'security-group', Tags: tagsOf(labels) }],
            }),
          );
          return GroupId;
        } catch (error) {
          if (codeOf(error) === 'InvalidGroup.Duplicate') return undefined;
          throw error;
        }
      },
      { detail },
    );
  });
}

/** One group as AWS describes it. @throws BuildError when there is none. */
export async function groupOf(session: Session, region: string, groupId: string): Promise<SecurityGroup> {
  const { SecurityGroups } = await session.ask(
    `looking at ${groupId}`,
    () => session.ec2(region).send(new DescribeSecurityGroupsCommand({ GroupIds: [groupId] })),
    { fresh: true },
  );
  const [group] = SecurityGroups ?? [];
  if (!group) throw new BuildError('aws', `AWS doesn't describe ${groupId}`, 'run the same command again');
  return group;
}

/** @returns whether it is gone; false while a network interface still has it. */
export function deleteGroup(session: Session, region: string, groupId: string): Promise<boolean> {
  return session.ask(`deleting ${groupId}`, async () => {
    try {
      await session.ec2(region).send(new DeleteSecurityGroupCommand({ GroupId: groupId }));
      return true;
    } catch (error) {
      // An interface goes some seconds after its machine: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteSecurityGroup.html
      if (codeOf(error) === 'DependencyViolation') return false;
      if (isGone(error) || (isDenied(error) && !(await exists(session, region, groupId)))) return true;
      throw error;
    }
  });
}

async function exists(session: Session, region: string, groupId: string): Promise<boolean> {
  return (await ourGroups(session, region, [{ Name: 'group-id', Values: [groupId] }])).length > 0;
}
