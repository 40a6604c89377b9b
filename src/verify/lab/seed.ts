import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../process/run.ts';

export interface SeedInputs {
  instanceId: string;
  hostname: string;
  mac: string;
  /** Addresses with prefix length, e.g. 10.77.0.10/24, and next hops, one a family; or whoever answers DHCP decides. */
  network: { addresses: string[]; gateways: string[] } | 'dhcp';
  /** The whole text, `#cloud-config` line included; empty when a cloud would give none. */
  userData?: string | undefined;
  /** Added to meta-data, e.g. public-keys. */
  metaData?: Record<string, unknown> | undefined;
}

/** Name of the seed's file in its folder. */
export const SEED_FILE = 'seed.iso';

/**
 * Writes a NoCloud seed (https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html): what a cloud's metadata
 * service would say, as an ISO labelled `cidata`.
 *
 * @param dir an empty folder that may be filled.
 * @returns the ISO's path.
 */
export async function writeSeed(dir: string, inputs: SeedInputs): Promise<string> {
  const files = join(dir, 'seed');
  mkdirSync(files, { recursive: true });
  const { instanceId, hostname, mac } = inputs;
  const network = { version: 2, ethernets: { lab: { match: { macaddress: mac }, ...ethernet(inputs.network) } } };
  const metaData = { 'instance-id': instanceId, 'local-hostname': hostname, ...inputs.metaData };
  // JSON is YAML, so no emitter is needed.
  writeFileSync(join(files, 'meta-data'), `${JSON.stringify(metaData)}\n`);
  writeFileSync(join(files, 'user-data'), inputs.userData ?? '');
  writeFileSync(join(files, 'network-config'), `${JSON.stringify(network)}\n`);
  const iso = join(dir, SEED_FILE);
  const args = ['-as', 'mkisofs', '-quiet', '-V', 'cidata', '-J', '-r', '-o', iso, files];
  await run('xorriso', args, { step: 'seed' });
  return iso;
}

function ethernet(network: SeedInputs['network']): Record<string, unknown> {
  if (network === 'dhcp') return { dhcp4: true, dhcp6: false };
  return {
    addresses: network.addresses,
    routes: network.gateways.map((via) => ({ to: via.includes(':') ? '::/0' : '0.0.0.0/0', via })),
    // Nobody answers these in the lab, and waiting for an answer would delay network-online.
    dhcp4: false,
    dhcp6: false,
    'accept-ra': false,
  };
}
