import { BuildError } from '../../process/errors.ts';
import type { Peer } from './namespaces.ts';

const ALL_PORTS = 65_535;
/**
 * For a guest that drops packets and is emulated on two cores: more than this many probes a second and it loses some that
 * it should have answered; fewer, and a scan takes minutes. Each lost probe is sent twice again.
 */
const RATE = { min: 1500, max: 4000, retries: 2 };
/** 65,535 probes, three times each, at the lowest rate: 131 s; twice that on a busy machine. */
const LIMIT_MS = 300_000;

/**
 * Scans all 65,535 TCP ports of an address with SYN probes.
 *
 * @returns the open ports, ascending.
 * @throws BuildError unless nmap reports a verdict for every single port: an unfinished scan proves nothing.
 */
export async function scanPorts(
  peer: Peer,
  address: string,
  options: { family: 4 | 6 } = { family: address.includes(':') ? 6 : 4 },
): Promise<number[]> {
  const pace = ['--min-rate', String(RATE.min), '--max-rate', String(RATE.max), '--max-retries', String(RATE.retries)];
  const rtt = ['--initial-rtt-timeout', '300ms', '--max-rtt-timeout', '800ms'];
  const family = options.family === 6 ? ['-6'] : [];
  const words = ['-n', '-Pn', '-sS', '-p', `1-${ALL_PORTS}`, ...pace, ...rtt, ...family, '-oX', '-', address];
  const { stdout, stderr, exitCode } = await peer.exec('nmap', words, { timeoutMs: LIMIT_MS });
  const { open, judged } = parseNmap(stdout);
  if (exitCode !== 0 || judged !== ALL_PORTS) {
    throw new BuildError(
      'scan',
      `nmap judged ${judged} of ${ALL_PORTS} ports of ${address} (exit ${exitCode})`,
      'see its words',
      {
        tail: (stderr || stdout).trim().slice(-1000),
      },
    );
  }
  return open;
}

/**
 * Reads nmap's XML (https://nmap.org/book/nmap-dtd.html): single ports, and the summary of those not listed.
 * @returns the open ports, ascending, and how many ports got any verdict.
 */
export function parseNmap(xml: string): { open: number[]; judged: number } {
  const ports = [...xml.matchAll(/<port protocol="tcp" portid="(\d+)"><state state="([^"]+)"/g)];
  const others = [...xml.matchAll(/<extraports state="[^"]+" count="(\d+)"/g)];
  const open = ports.filter(([, , state]) => state === 'open').map(([, port]) => Number(port));
  const judged = ports.length + others.reduce((sum, [, count]) => sum + Number(count), 0);
  return { open: open.sort((a, b) => a - b), judged };
}
