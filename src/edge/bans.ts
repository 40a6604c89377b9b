import { BlockList, isIPv4 } from 'node:net';
import { networkOf } from '../contract/addresses.ts';

/** A ban that an instance has told, and has signed. */
export interface Ban {
  /** As networkOf gives it. */
  address: string;
  /** RFC 3339. */
  since: string;
  until: string;
}

/** What is known of one instance's bans. */
export interface Report {
  owner: string;
  /** Under which names visitors reach it. */
  hosts: string[];
  bans: Ban[];
}

export interface Wanted {
  /** Never banned: addresses and networks. */
  allow: string[];
  /** So many of an instance count, the newest. */
  perInstance: number;
  zoneWide: {
    /** Of so many owners' instances an address must have been banned by, to be so on every host of the zone. */
    owners: number;
  };
}

export interface Decided {
  /** On every host of the zone. */
  everywhere: string[];
  /** On single hosts, by host, in order; `left` more didn't fit. */
  byHost: [host: string, addresses: string[]][];
  left: number;
}

/** Networks that are nobody's on the internet: https://www.iana.org/assignments/iana-ipv4-special-registry; of IPv6 all but 2000::/3. */
const SPECIAL = [
  ...['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.0.0.0/24'],
  ...['192.168.0.0/16', '198.18.0.0/15', '224.0.0.0/3', '::/3', '4000::/2', '8000::/1'],
];

/** Characters that a rule's expression may have: https://developers.cloudflare.com/ruleset-engine/rules-language/expressions/#maximum-rule-expression-length */
export const EXPRESSION_LIMIT = 4096;

/**
 * Who is banned where. An instance speaks for its own hosts alone; only several owners together for all; who is allowed is never
 * banned, whoever says so.
 * @param cloudflare networks of Cloudflare's, through which all visitors come (https://www.cloudflare.com/ips/).
 * @param room characters for the bans of single hosts.
 */
export function decide(
  reports: Report[],
  { allow, perInstance, zoneWide }: Wanted,
  cloudflare: string[],
  room: number,
): Decided {
  const never = checker([...allow, ...cloudflare, ...SPECIAL]);
  const counted = reports.map(({ bans, ...report }) => ({
    ...report,
    bans: bans
      .filter(({ address }) => !never(address))
      .sort((one, other) => (one.since < other.since ? 1 : -1))
      .slice(0, perInstance),
  }));

  const owners = new Map<string, Set<string>>();
  for (const { owner, bans } of counted)
    for (const { address } of bans) owners.set(address, (owners.get(address) ?? new Set()).add(owner));
  const everywhere = [...owners].filter(([, by]) => by.size >= zoneWide.owners).map(([address]) => address);

  // Each instance's newest first, so that none takes another's room.
  const single = counted
    .flatMap(({ hosts, bans }) =>
      bans
        .filter(({ address }) => !everywhere.includes(address))
        .flatMap(({ address, since }, rank) => hosts.map((host) => ({ host, address, since, rank }))),
    )
    .sort((one, other) => one.rank - other.rank || (one.since < other.since ? 1 : -1));
  const byHost = new Map<string, Set<string>>();
  let [free, left] = [room, 0];
  for (const { host, address } of single) {
    const there = byHost.get(host);
    if (there?.has(address)) continue;
    const costs = address.length + 1 + (there ? 0 : clauseOf(host, []).length + ' or '.length);
    if (costs > free) {
      left++;
      continue;
    }
    free -= costs;
    byHost.set(host, (there ?? new Set()).add(address));
  }
  const sorted = [...byHost].sort(([one], [other]) => (one < other ? -1 : 1));
  return { everywhere: everywhere.sort(), byHost: sorted.map(([host, set]) => [host, [...set].sort()]), left };
}

/** One host's part of the rule; `*--alice.example.com` is every host that ends so. */
export function clauseOf(host: string, addresses: string[]): string {
  const whose = host.startsWith('*') ? `ends_with(http.host, "${host.slice(1)}")` : `http.host eq "${host}"`;
  return `(${whose} and ip.src in {${addresses.join(' ')}})`;
}

function first(network: string): [string, 'ipv4' | 'ipv6'] {
  const [address = ''] = network.split('/');
  return [address, isIPv4(address) ? 'ipv4' : 'ipv6'];
}

/**
 * Who bans one address of a /64 bans all, so whoever allows one allows all.
 * @returns whether an address or network is in one of `networks`.
 */
function checker(networks: string[]): (network: string) => boolean {
  // A list for each: Node takes an IPv4 address for one of ::ffff:0:0/96, and so of ::/3.
  const lists = { ipv4: new BlockList(), ipv6: new BlockList() };
  for (const network of networks) {
    const [address, family] = first(network);
    const bits = Number(network.split('/')[1] ?? 128);
    lists[family].addSubnet(address, Math.min(bits, family === 'ipv4' ? 32 : 64), family);
  }
  return (network) => lists[first(network)[1]].check(...first(network));
}

/**
 * @param address as an instance says it: one address, or the network of one customer.
 * @returns undefined for a wider one: nobody bans a part of the internet.
 */
export function bannable(address: string): string | undefined {
  const [start = '', bits] = address.split('/');
  if (isIPv4(start)) return bits === undefined || bits === '32' ? start : undefined;
  return bits === undefined || Number(bits) >= 64 ? networkOf(start) : undefined;
}
