import { isIP } from 'node:net';
import { inputError } from '../process/errors.ts';

export interface Network {
  family: 4 | 6;
  /** In its one form: no bits behind the prefix, IPv6 as RFC 5952 has it. */
  cidr: string;
}

/**
 * A network in the one form in which two of them can be compared; clouds answer in it, whatever form was asked for.
 * @param text CIDR.
 * @param step for the error: who asks.
 * @throws BuildError (input) for what is no network.
 */
export function networkIn(text: string, step: string): Network {
  const [, address = '', prefix = ''] = /^([0-9a-f.:]+)\/(\d{1,3})$/i.exec(text) ?? [];
  const family = isIP(address);
  const bits = Number(prefix);
  if ((family !== 4 && family !== 6) || bits > (family === 4 ? 32 : 128))
    throw inputError(step, `${JSON.stringify(text)} is no network`, 'write it like 192.0.2.0/24 or 2001:db8::/32');
  if (family === 4) return { family, cidr: `${masked(address.split('.').map(Number), 8, bits).join('.')}/${bits}` };
  const groups = masked(groupsOf(shortest(address)), 16, bits).map((group) => group.toString(16));
  return { family, cidr: `${shortest(groups.join(':'))}/${bits}` };
}

/** Without the bits behind the prefix. @param width bits of each part. */
function masked(parts: number[], width: number, prefix: number): number[] {
  return parts.map((part, index) => {
    const cut = width - Math.min(width, Math.max(0, prefix - index * width));
    return (part >> cut) << cut;
  });
}

/** An IPv6 address as RFC 5952 has it, which the URL standard has too. */
function shortest(address: string): string {
  return new URL(`http://[${address}]/`).hostname.slice(1, -1);
}

function groupsOf(address: string): number[] {
  const [head = [], tail = []] = address.split('::').map((half) => half.split(':').filter(Boolean));
  const zeros = Array<string>(8 - head.length - tail.length).fill('0');
  return [...head, ...zeros, ...tail].map((group) => Number.parseInt(group, 16));
}
