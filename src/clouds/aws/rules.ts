import {
  AuthorizeSecurityGroupIngressCommand,
  type IpPermission,
  RevokeSecurityGroupIngressCommand,
} from '@aws-sdk/client-ec2';
import { networkIn } from '../cidr.ts';
import type { Opening } from '../machines.ts';
import { codeOf } from './errors.ts';
import { groupOf } from './groups.ts';
import type { Session } from './session.ts';

/** AWS keeps sources in four lists. */
const SOURCES = ['IpRanges', 'Ipv6Ranges', 'UserIdGroupPairs', 'PrefixListIds'] as const;

/**
 * Makes a group let in just these, whatever it let in before, also what somebody added by hand. What is missing is let in
 * before what is too much is shut out, so nobody who is in both is ever out.
 * @throws BuildError (input) for what is no network.
 */
export async function setRules(session: Session, region: string, groupId: string, openings: Opening[]): Promise<void> {
  const wanted = rulesOf(openings);
  const ec2 = session.ec2(region);
  // Until AWS describes it so: it may describe what was before a change, and in a default VPC a rule that isn't there is
  // revoked without an error (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RevokeSecurityGroupIngress.html).
  await session.until(`the rules of ${groupId}`, session.times.fresh, async () => {
    const { IpPermissions = [] } = await groupOf(session, region, groupId);
    const present = byKey(IpPermissions.flatMap(singles));
    const missing = without(wanted, present);
    const surplus = without(present, wanted);
    if (missing.length === 0 && surplus.length === 0) return true;
    const change = { GroupId: groupId };
    const isIn =
      missing.length === 0 ||
      (await done(session, `opening ${groupId}`, 'InvalidPermission.Duplicate', () =>
        ec2.send(new AuthorizeSecurityGroupIngressCommand({ ...change, IpPermissions: missing })),
      ));
    if (isIn && surplus.length > 0)
      await done(session, `closing ${groupId}`, 'InvalidPermission.NotFound', () =>
        ec2.send(new RevokeSecurityGroupIngressCommand({ ...change, IpPermissions: surplus })),
      );
    return undefined;
  });
}

/** @returns false when AWS refused all of it because of a rule that was so already: what it described was old. */
function done(session: Session, what: string, already: string, call: () => Promise<unknown>): Promise<boolean> {
  return session.ask(
    what,
    async () => {
      try {
        await call();
        return true;
      } catch (error) {
        if (codeOf(error) === already) return false;
        throw error;
      }
    },
    { fresh: true },
  );
}

function rulesOf(openings: Opening[]): Map<string, IpPermission> {
  return byKey(
    openings.flatMap(({ port, to = port, sources }) =>
      sources.map((source) => {
        const { family, cidr } = networkIn(source, 'aws');
        const where = family === 4 ? { IpRanges: [{ CidrIp: cidr }] } : { Ipv6Ranges: [{ CidrIpv6: cidr }] };
        return { IpProtocol: 'tcp', FromPort: port, ToPort: to, ...where };
      }),
    ),
  );
}

/** A permission of several sources as several of one each. */
function singles(permission: IpPermission): IpPermission[] {
  const { IpProtocol, FromPort, ToPort } = permission;
  return SOURCES.flatMap((list) =>
    (permission[list] ?? []).map((source) => ({ IpProtocol, FromPort, ToPort, [list]: [source] })),
  );
}

function byKey(rules: IpPermission[]): Map<string, IpPermission> {
  return new Map(rules.map((rule) => [keyOf(rule), rule]));
}

/** The same for the same rule; descriptions are no part of it. */
function keyOf({ IpProtocol, FromPort, ToPort, ...sources }: IpPermission): string {
  const cidr = sources.IpRanges?.[0]?.CidrIp ?? sources.Ipv6Ranges?.[0]?.CidrIpv6;
  return JSON.stringify([IpProtocol, FromPort, ToPort, cidr ? networkIn(cidr, 'aws').cidr : sources]);
}

function without(rules: Map<string, IpPermission>, others: Map<string, IpPermission>): IpPermission[] {
  return [...rules].filter(([key]) => !others.has(key)).map(([, rule]) => rule);
}
