import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Command } from 'commander';
import type { z } from 'zod';
import type { bansSchema } from '../contract/ops.ts';
import { cloudflare } from '../edge/api.ts';
import { BAN_PARTS, openZone, planZone } from '../edge/apply.ts';
import { bansTold, readReports, renewed, writeReports } from '../edge/ban-reports.ts';
import type { Ban } from '../edge/bans.ts';
import { hostsOf, type Inventory, readInventory } from '../edge/inventory.ts';
import { bansFile } from '../launch/places.ts';
import { type InstanceRecord, readRecord } from '../launch/records.ts';
import { type FleetOptions, fleetOptions, overFleet, type Row } from '../ops/fleet.ts';
import { perform } from '../ops/verbs.ts';
import { BuildError, inputError } from '../process/errors.ts';
import { Progress } from '../process/progress.ts';
import { lockFolders } from '../publish/lock.ts';
import { change } from './edge-change.ts';

interface Options extends FleetOptions {
  zone: string[];
  file: string;
  yes: boolean;
  json: boolean;
}

/** The command by which those whom instances have banned are banned at Cloudflare. */
export function addBansCommand(edge: Command): void {
  const command = edge
    .command('bans')
    .description(
      'ask all instances whom they have banned, and ban them at Cloudflare; for a timer, every ten minutes or so',
    )
    .option('--zone <files...>', 'what zones have to be like; the one with the Worker first', ['zone.yaml'])
    .option('--file <file>', 'whose instances there are', 'edge.yaml')
    .option('--yes', "don't ask, where something changes", false)
    .option('--json', 'the changes, and only they, on standard output', false)
    .action((options: Options) => bans(options));
  for (const option of fleetOptions()) if (option.long !== '--all') command.addOption(option);
}

async function bans(options: Options): Promise<void> {
  const [progress, inventory] = [new Progress(), readInventory(options.file)];
  const api = cloudflare();
  const open = (file: string) => progress.step(`open the zone of ${file}`, () => openZone(api, file));
  for (const file of options.zone)
    if (!(await open(file)).bans) throw inputError('edge', `${file} has no bans`, 'add `bans: {}`: docs/edge-zone.md');
  mkdirSync(dirname(bansFile()), { recursive: true, mode: 0o700 });
  const release = await lockFolders([dirname(bansFile())], 'bans');
  try {
    const rows = await askAll(inventory, options, progress);
    for (const file of options.zone) {
      const context = await open(file);
      await change(context, options, progress, () => planZone(context, BAN_PARTS));
      if (context.bans && context.bans !== 'unknown' && context.bans.left)
        progress.say(`${context.bans.left} bans of single hosts don't fit into the rule; their instances hold them`);
    }
    const silent = rows.filter(({ ok }) => !ok).map(({ instance, error }) => `${instance} (${error})`);
    if (silent.length)
      throw new BuildError(
        'edge',
        `${silent.length} of ${rows.length} instances didn't tell: ${silent.join(', ')}`,
        'what they told before counts on, for a week at most; npm run -s ops -- INSTANCE bans',
      );
  } finally {
    await release();
  }
}

/** Asks every instance of the inventory, and keeps what they tell; one that can't be asked keeps nobody else from it. */
async function askAll(inventory: Inventory, options: Options, progress: Progress): Promise<Row[]> {
  const owners = new Map(Object.values(inventory.instances).map(({ instance, owner }) => [instance, owner]));
  const records: InstanceRecord[] = [];
  const unknown: Row[] = [];
  for (const instance of owners.keys()) {
    try {
      records.push(readRecord(instance));
    } catch (error) {
      if (!(error instanceof BuildError)) throw error;
      unknown.push({ instance, ok: false, error: error.message });
    }
  }
  const rows = await overFleet(records, 'bans', options, progress, async (record) => {
    // Whoever can't sign could be anybody, and says of others what is to be believed.
    if (!record.instance_key) throw new BuildError('edge', 'its record has no instance key', 'launch it anew');
    return bansTold((await perform(record, 'bans', {})) as z.output<typeof bansSchema>, Date.now());
  });
  const told = new Map(rows.map(({ instance, result }) => [instance, result as Ban[] | undefined]));
  const heard = new Map(
    [...owners].map(([id, owner]) => [id, { owner, hosts: hostsOf(inventory, id), bans: told.get(id) }]),
  );
  const { proxies, version } = readReports();
  const { proxy } = inventory;
  writeReports({ version, proxies: { ...proxies, [proxy]: renewed(proxies[proxy], heard, Date.now()) } });
  return [...rows, ...unknown];
}
