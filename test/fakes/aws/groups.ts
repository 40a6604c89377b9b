import { isIP } from 'node:net';
import { filtered, type Handler, page } from './handler.ts';
import { specified } from './images.ts';
import { ACCOUNT, type FakeGroup, newId, type Region, type Rule, tagList } from './state.ts';
import { ApiError, type Values } from './wire.ts';

const VPC = 'vpc-0123456789abcdef0';

/** Of the rules of one direction, for each IP family: the quota that AWS sets. */
const RULES = 60;

const invalid = (message: string) => new ApiError('InvalidParameterValue', message);

export function groupOf(region: Region, id: unknown): FakeGroup {
  if (!/^sg-[0-9a-f]{8,17}$/.test(String(id))) throw new ApiError('InvalidGroupId.Malformed', `Invalid id: "${id}"`);
  const group = region.groups.get(id as string);
  if (!group) throw new ApiError('InvalidGroup.NotFound', `The security group '${id}' does not exist`);
  return group;
}

/** A CIDR block without the bits behind its prefix, IPv6 in its shortest form, as AWS keeps it. */
function canonical(text: string, family: 4 | 6): string {
  const [address = '', prefix = ''] = text.split('/');
  const length = family === 4 ? 32 : 128;
  if (isIP(address) !== family || !/^\d+$/.test(prefix) || Number(prefix) > length)
    throw invalid(`CIDR block ${text} is malformed`);
  const cut = BigInt(length - Number(prefix));
  const number = (numberOf(address, family) >> cut) << cut;
  if (family === 4) return `${[24n, 16n, 8n, 0n].map((by) => (number >> by) & 255n).join('.')}/${prefix}`;
  const digits = number.toString(16).padStart(32, '0').match(/.{4}/g) as string[];
  return `${new URL(`http://[${digits.join(':')}]`).hostname.slice(1, -1)}/${prefix}`;
}

function numberOf(address: string, family: 4 | 6): bigint {
  if (family === 4) return BigInt(address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0));
  const plain = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const [head = '', tail] = plain.split('::').map((half) => half.split(':').filter(Boolean));
  const missing = 8 - (head.length + (tail?.length ?? 0));
  const all = [...head, ...Array<string>(missing).fill('0'), ...(tail ?? [])];
  return BigInt(`0x${all.map((group) => group.padStart(4, '0')).join('')}`);
}

function rulesFrom(permissions: unknown): Rule[] {
  const list = (permissions ?? []) as Values[];
  if (list.length === 0) throw new ApiError('MissingParameter', 'IpPermissions');
  return list.flatMap(({ IpProtocol, FromPort, ToPort, IpRanges, Ipv6Ranges }) => {
    const [from, to] = [FromPort, ToPort] as (number | undefined)[];
    const isPort = (port: number | undefined) => Number.isInteger(port) && Number(port) >= 0 && Number(port) <= 65535;
    if (IpProtocol === 'tcp' && !(isPort(from) && isPort(to) && Number(from) <= Number(to)))
      throw invalid(`Invalid value for portRange: ${from}-${to}`);
    const cidrs = [
      ...((IpRanges ?? []) as { CidrIp: string }[]).map(({ CidrIp }) => canonical(CidrIp, 4)),
      ...((Ipv6Ranges ?? []) as { CidrIpv6: string }[]).map(({ CidrIpv6 }) => canonical(CidrIpv6, 6)),
    ];
    if (cidrs.length === 0) throw invalid('a rule needs a source');
    return cidrs.map((cidr) => ({ protocol: String(IpProtocol), from, to, cidr }));
  });
}

const keyOf = (rule: Rule) => [rule.protocol, rule.from, rule.to, rule.cidr].join(' ');
const isV6 = ({ cidr }: Rule) => cidr.includes(':');

/** As AWS answers: one permission for each protocol and ports, with all its sources. */
function permissionsOf(rules: Rule[]): Values[] {
  const byPorts = Map.groupBy(rules, ({ protocol, from, to }) => [protocol, from, to].join(' '));
  return [...byPorts.values()].map((some) => ({
    IpProtocol: some[0]?.protocol,
    FromPort: some[0]?.from,
    ToPort: some[0]?.to,
    IpRanges: some.filter((rule) => !isV6(rule)).map(({ cidr }) => ({ CidrIp: cidr })),
    Ipv6Ranges: some.filter(isV6).map(({ cidr }) => ({ CidrIpv6: cidr })),
  }));
}

/** Security groups of the default VPC, as EC2 has them. */
export const GROUPS: Record<string, Handler> = {
  CreateSecurityGroup: ({ region }, input) => {
    const name = input.GroupName as string;
    for (const text of [name, input.Description as string])
      if (!/^[\w .:/()#,@[\]+=&;{}!$*-]{1,255}$/.test(text) || text.startsWith('sg-'))
        throw invalid(`'${text}' has characters that aren't allowed`);
    if ([...region.groups.values()].some((group) => group.name === name))
      throw new ApiError('InvalidGroup.Duplicate', `The security group '${name}' already exists for VPC '${VPC}'`);
    const id = newId('sg');
    const tags = specified(input, 'security-group', ['security-group']);
    region.groups.set(id, { id, name, description: input.Description as string, tags, ingress: [] });
    return { GroupId: id, Tags: tagList(tags) };
  },

  DescribeSecurityGroups: (call, input) => {
    const { region } = call;
    const ids = input.GroupIds as string[] | undefined;
    if (ids && input.MaxResults !== undefined)
      throw new ApiError('InvalidParameterCombination', 'GroupIds and MaxResults exclude each other');
    const wanted = ids ? ids.map((id) => groupOf(region, id)) : region.groups.values();
    const { items, ...more } = page(
      call,
      filtered(wanted, input.Filters, ({ tags, id, name }) => ({
        tags,
        fields: { 'group-id': [id], 'group-name': [name] },
      })),
      input,
    );
    const SecurityGroups = items.map(({ id, name, description, tags, ingress }) => ({
      GroupId: id,
      GroupName: name,
      Description: description,
      OwnerId: ACCOUNT,
      VpcId: VPC,
      IpPermissions: permissionsOf(ingress),
      IpPermissionsEgress: [{ IpProtocol: '-1', IpRanges: [{ CidrIp: '0.0.0.0/0' }] }],
      Tags: tagList(tags),
    }));
    return { ...more, SecurityGroups };
  },

  AuthorizeSecurityGroupIngress: ({ region }, input) => {
    const group = groupOf(region, input.GroupId);
    const rules = rulesFrom(input.IpPermissions);
    const known = new Set(group.ingress.map(keyOf));
    for (const rule of rules) {
      if (known.has(keyOf(rule)))
        throw new ApiError('InvalidPermission.Duplicate', `the specified rule "peer: ${rule.cidr}" already exists`);
      known.add(keyOf(rule));
    }
    const all = [...group.ingress, ...rules];
    if (all.filter(isV6).length > RULES || all.filter((rule) => !isV6(rule)).length > RULES)
      throw new ApiError('RulesPerSecurityGroupLimitExceeded', 'The maximum number of rules has been reached.');
    group.ingress = all;
    return { Return: true };
  },

  RevokeSecurityGroupIngress: ({ region }, input) => {
    const group = groupOf(region, input.GroupId);
    const rules = rulesFrom(input.IpPermissions);
    const present = new Set(group.ingress.map(keyOf));
    const going = new Set(rules.map(keyOf));
    group.ingress = group.ingress.filter((rule) => !going.has(keyOf(rule)));
    // No error in a default VPC: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RevokeSecurityGroupIngress.html
    return { Return: true, UnknownIpPermissions: permissionsOf(rules.filter((rule) => !present.has(keyOf(rule)))) };
  },

  DeleteSecurityGroup: ({ state, region }, input) => {
    const { id, name } = groupOf(region, input.GroupId);
    if (name === 'default') throw new ApiError('CannotDelete', 'the specified group: "default" cannot be deleted');
    const isUsed = [...region.instances.values()].some(
      (instance) => instance.groups.includes(id) && instance.state !== 'terminated',
    );
    if (isUsed || state.behaviour.interfaceLingers-- > 0)
      throw new ApiError('DependencyViolation', `resource ${id} has a dependent object`);
    region.groups.delete(id);
    return { Return: true, GroupId: id };
  },
};
