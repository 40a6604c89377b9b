import type { Command } from 'commander';
import type { z } from 'zod';
import type { bansSchema } from '../contract/ops.ts';
import { cloudflare } from '../edge/api.ts';
import { BAN_PARTS, openZone, planZone } from '../edge/apply.ts';
import { readReports, renewed, reportOf, writeReports } from '../edge/ban-reports.ts';
import type { Report } from '../edge/bans.ts';
import { hostsOf, readInventory } from '../edge/inventory.ts';
import { readRecord } from '../launch/records.ts';
import { type FleetOptions, fleetOptions, overFleet } from '../ops/fleet.ts';
import { perform } from '../ops/verbs.ts';
import { BuildError, inputError } from '../process/errors.ts';
import { Progress } from '../process/progress.ts';
import { change } from './edge-change.ts';

interface Options extends FleetOptions {
  zone: string;
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
    .option('--zone <file>', 'what the zone has to be like', 'zone.yaml')
    .option('--file <file>', 'whose instances there are', 'edge.yaml')
    .option('--yes', "don't ask, where something changes", false)
    .option('--json', 'the changes, and only they, on standard output', false)
    .action((options: Options) => bans(options));
  for (const option of fleetOptions()) if (option.long !== '--all') command.addOption(option);
}

async function bans(options: Options): Promise<void> {
  const [progress, inventory] = [new Progress(), readInventory(options.file)];
  const owners = new Map(Object.values(inventory.instances).map(({ instance, owner }) => [instance, owner]));
  const api = cloudflare();
  const { zone } = await progress.step('open the zone', () => openZone(api, options.zone));
  if (!zone.bans) throw inputError('edge', `${options.zone} has no bans`, 'add `bans: {}`: docs/edge-zone.md');

  const kept = readReports();
  const rows = await overFleet([...owners.keys()].map(readRecord), 'bans', options, progress, async (record) => {
    // Whoever can't sign could be anybody, and says of others what is to be believed.
    if (!record.instance_key) throw new BuildError('edge', 'its record has no instance key', 'launch it anew');
    const told = (await perform(record, 'bans', {})) as z.output<typeof bansSchema>;
    const owner = owners.get(record.instance_id) as string;
    return reportOf(told, owner, hostsOf(inventory, record.instance_id), Date.now());
  });
  const fresh = new Map(rows.map(({ instance, result }) => [instance, result as Report | undefined]));
  writeReports(renewed(kept, fresh, Date.now()));

  const context = await progress.step('open the zone', () => openZone(api, options.zone));
  await change(context, options, progress, () => planZone(context, BAN_PARTS));
  if (context.bans?.left)
    process.stderr.write(
      `${context.bans.left} bans of single hosts don't fit into the rule; their instances hold them\n`,
    );
  const silent = rows.filter(({ ok }) => !ok);
  if (silent.length)
    throw new BuildError(
      'edge',
      `${silent.length} of ${rows.length} instances didn't tell: ${silent.map(({ instance, error }) => `${instance} (${error})`).join(', ')}`,
      'what they told before counts on, for a week at most; npm run -s ops -- INSTANCE bans',
    );
}
