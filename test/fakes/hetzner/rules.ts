import { isIP } from 'node:net';
import { z } from 'zod';

/** The rules of a firewall, as https://docs.hetzner.cloud/reference/cloud#firewall-actions-set-rules describes them. */

/** "The CIDR blocks may refer to networks (with empty host bits) or single hosts." */
function isNetwork(text: string): boolean {
  const [, address = '', length = ''] = /^([^/]+)\/(\d{1,3})$/.exec(text) ?? [];
  const version = isIP(address);
  const bits = version === 4 ? 32 : 128;
  if (version === 0 || Number(length) > bits) return false;
  const host = BigInt(bits - Number(length));
  return (addressBits(address, version) & ((1n << host) - 1n)) === 0n;
}

function addressBits(address: string, version: number): bigint {
  if (version === 4) return address.split('.').reduce((value, part) => (value << 8n) | BigInt(part), 0n);
  // The URL parser writes an IPv4 tail in hex.
  const [head = '', tail = ''] = new URL(`http://[${address}]`).hostname.slice(1, -1).split('::');
  const [before, after] = [head, tail].map((part) => (part ? part.split(':') : [])) as [string[], string[]];
  const zeros = Array(8 - before.length - after.length).fill('0');
  return [...before, ...zeros, ...after].reduce((value, part) => (value << 16n) | BigInt(`0x${part}`), 0n);
}

function isPorts(text: string): boolean {
  const [, first, last = first] = /^([1-9]\d{0,4})(?:-([1-9]\d{0,4}))?$/.exec(text) ?? [];
  return first !== undefined && Number(first) <= Number(last) && Number(last) <= 65_535;
}

const networks = z.array(z.string().refine(isNetwork, 'is no CIDR block with empty host bits')).max(100).optional();

const rule = z
  .strictObject({
    direction: z.enum(['in', 'out']),
    protocol: z.enum(['tcp', 'udp', 'icmp', 'esp', 'gre']),
    port: z.string().refine(isPorts, 'is no port and no range').optional(),
    source_ips: networks,
    destination_ips: networks,
    description: z.string().max(255).nullish(),
  })
  .refine(({ protocol, port }) => ['tcp', 'udp'].includes(protocol) === (port !== undefined), 'port is for TCP and UDP')
  .refine(
    ({ direction, ...ips }) => (direction === 'in' ? ips.source_ips : ips.destination_ips)?.length,
    'lets nobody through',
  );
export type Rule = z.output<typeof rule>;

/** "Rules are limited to 50 entries per Firewall and 500 effective rules"; an effective one is a rule for one network. */
export const rules = z
  .array(rule)
  .max(50)
  .refine(
    (all) =>
      all.flatMap(({ source_ips = [], destination_ips = [] }) => [...source_ips, ...destination_ips]).length <= 500,
    'are more than 500 effective rules',
  );
