import { Command, InvalidArgumentError } from 'commander';
import { publicationsDir } from '../publish/journal.ts';
import { carryOutPrune, type Decision, planPrune, renderDecision } from '../publish/prune.ts';
import { agreed } from './agreed.ts';
import { type CloudChoice, cloudOptions, withLockedCloud } from './clouds.ts';

interface Options extends CloudChoice {
  keep: number;
  grace: number;
  plan: boolean;
  yes: boolean;
  json: boolean;
}

export function pruneCommand(root: string): Command {
  const command = new Command('prune')
    .description('deprecate old images, later remove them, and sweep what interrupted runs have left')
    .option('--keep <n>', 'so many of the newest images of each base stay', wholeNumber, 3)
    .option('--grace <days>', 'between deprecation and removal', wholeNumber, 7)
    .option('--plan', 'say what would go and why, and stop', false)
    .option('--yes', "don't ask", false)
    .option('--json', 'the decisions, and only they, on standard output', false)
    .action((options: Options) => run(root, options));
  for (const option of cloudOptions()) command.addOption(option);
  return command;
}

function wholeNumber(text: string): number {
  if (!/^\d{1,4}$/.test(text)) throw new InvalidArgumentError('a whole number, 0 to 9999');
  return Number(text);
}

async function run(root: string, options: Options): Promise<void> {
  const { keep, grace, plan, yes, json } = options;
  const dir = publicationsDir(root);
  const decisions = await withLockedCloud(options, dir, async (cloud) => {
    const decided = await planPrune(cloud, dir, { keep, graceDays: grace });
    const changes = decided.filter(({ act }) => act !== 'keep' && act !== 'leave');
    if (plan || !changes.length) return decided;
    if (!yes) {
      process.stderr.write(`${changes.map(renderDecision).join('\n')}\n`);
      if (!(await agreed('prune', `do that on ${cloud.name}?`))) return undefined;
    }
    const say = (decision: Decision) => process.stderr.write(`✔ ${renderDecision(decision)}\n`);
    return carryOutPrune(cloud, dir, decided, say);
  });
  if (!decisions) return;
  const rows = decisions.map((decision) => {
    const { act, region, why } = decision;
    return { act, region, id: 'image' in decision ? decision.image.imageId : decision.orphan.id, why };
  });
  const text = decisions.map(renderDecision).join('\n') || 'nothing of this project is there';
  process.stdout.write(`${json ? JSON.stringify(rows) : text}\n`);
}
