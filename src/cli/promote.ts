import { Command, Option } from 'commander';
import { baseNames } from '../base/bases.ts';
import { DEFAULT_BASE } from '../base/choose.ts';
import { publicationsDir } from '../publish/journal.ts';
import { carryOut, planPromote, planRollback, renderMove } from '../publish/promote.ts';
import { agreed } from './agreed.ts';
import { type CloudChoice, cloudOptions, withLockedCloud } from './clouds.ts';

interface Options extends CloudChoice {
  base: string;
  image?: string;
  rollback: boolean;
  plan: boolean;
  yes: boolean;
  json: boolean;
}

export function promoteCommand(root: string): Command {
  const command = new Command('promote')
    .description('make the candidate the latest, which launches take; only what every region has')
    .option(
      '--base <name>',
      `channels are per base: ${baseNames().join(', ')}`,
      process.env.CLAWDY_BASE || DEFAULT_BASE,
    )
    .addOption(new Option('--image <id>', 'this published image instead of the candidate').conflicts('rollback'))
    .option('--rollback', 'make the one that was latest before the latest again', false)
    .option('--plan', 'say which channels would move, and stop', false)
    .option('--yes', "don't ask", false)
    .option('--json', 'the moves, and only they, on standard output', false)
    .action((options: Options) => run(root, options));
  for (const option of cloudOptions()) command.addOption(option);
  return command;
}

async function run(root: string, options: Options): Promise<void> {
  const { base, plan, yes, json, rollback, image } = options;
  const done = await withLockedCloud(options, publicationsDir(root), async (cloud) => {
    const moves = rollback ? await planRollback(cloud, base) : await planPromote(cloud, base, image);
    const changes = moves.filter(({ isDone }) => !isDone);
    const lines = changes.map(renderMove);
    const said = lines.join('\n') || `nothing to do: it is the latest of ${base} on ${cloud.name}`;
    if (plan) return { changes, said };
    if (changes.length > 0 && !yes) {
      process.stderr.write(`${said}\n`);
      if (!(await agreed('promote', `move these channels of ${base} on ${cloud.name}?`))) return undefined;
    }
    await carryOut(cloud, base, moves);
    return { changes, said };
  });
  if (!done) return;
  const rows = done.changes.map(({ region, channel, from, to }) => ({ region, channel, from, to }));
  process.stdout.write(`${json ? JSON.stringify(rows) : done.said}\n`);
}
