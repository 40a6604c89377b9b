import { mkdirSync } from 'node:fs';
import { Command } from 'commander';
import { replacementsDir } from '../launch/places.ts';
import { whichRun } from '../launch/power.ts';
import { type InstanceRecord, listRecords } from '../launch/records.ts';
import { chosenRecords, type FleetOptions, fleetOptions, overFleet, tell } from '../ops/fleet.ts';
import { BuildError, inputError } from '../process/errors.ts';
import { Progress } from '../process/progress.ts';
import { lockFolders } from '../publish/lock.ts';
import { baseOf, handsOf } from '../replace/hands.ts';
import { replaceInstance, rollBack } from '../replace/replace.ts';
import { agreed } from './agreed.ts';
import { clearUp } from './instances.ts';

interface Options extends FleetOptions {
  image: string;
  edge: string;
  suspect: boolean;
  rollback: boolean;
  plan: boolean;
  yes: boolean;
  json: boolean;
}

const EXAMPLES = `
Examples:
  npm run replace -- local-3f9c2a71                      by the image that the channel latest names now
  npm run replace -- --all --concurrency 2               every instance that nobody has replaced yet
  npm run replace -- local-3f9c2a71 --suspect            somebody may have been in: documents alone are carried over
  npm run replace -- local-8d01b6aa --rollback           back to the one whose place it took

What was interrupted is taken back or finished by the same command (docs/launching.md).`;

export function replaceCommand(): Command {
  const command = new Command('replace')
    .description('a new instance takes over from another: same owner, slug and home; new secrets, keys and image')
    .argument('[instance]')
    .option('--image <image>', 'a channel, or the ID of a published image', 'latest')
    .option('--edge <file>', 'whose slugs lead to it', 'edge.yaml')
    .option('--suspect', 'carry documents alone: nothing that a machine or the agent would act upon', false)
    .option('--rollback', 'the instance took a place: go back to the one before, as it was then', false)
    .option('--plan', 'say what would happen and stop', false)
    .option('--yes', "don't ask", false)
    .option('--json', 'the results, and only they, on standard output', false)
    .addHelpText('after', EXAMPLES)
    .action(replace);
  for (const option of fleetOptions()) command.addOption(option);
  return command;
}

async function replace(instance: string | undefined, options: Options): Promise<void> {
  process.umask(0o077);
  const { all, rollback, suspect, image, plan, json, yes } = options;
  if (all === Boolean(instance)) throw inputError('replace', 'which instance?', 'its ID, or --all');
  if (all && rollback) throw inputError('replace', '--all with --rollback', 'go back one by one');
  if (suspect && rollback) throw inputError('replace', '--suspect with --rollback', 'one of them');
  if (!plan) await clearUp();
  const chosen = chosenRecords(all, instance).filter((record) => !all || isCurrent(record));
  // One that is off, as after a rollback, serves nobody.
  const runs = all && !plan ? await whichRun(chosen) : [];
  const records = chosen.filter((_, index) => runs[index] !== false);
  const steps = records.flatMap((record) => planOf(record, options));
  if (plan) {
    process.stdout.write(json ? `${JSON.stringify({ stage: 'replace', steps })}\n` : `${steps.join('\n')}\n`);
    return;
  }
  const names = records.map(({ instance_id }) => instance_id).join(', ');
  const question = rollback
    ? `go back from ${names}? What was done there since stays on its disk alone`
    : `replace ${names || 'nobody'} by ${image}? Each is away while its home moves`;
  if (!yes && !(await agreed('replace', question))) return;
  const progress = new Progress();
  mkdirSync(replacementsDir(), { recursive: true, mode: 0o700 });
  const release = await lockFolders([replacementsDir()], 'which instance is whose successor');
  try {
    await perform(records, options, progress);
  } finally {
    await release();
  }
}

async function perform(records: InstanceRecord[], options: Options, progress: Progress): Promise<void> {
  const { rollback, suspect, json } = options;
  const hands = handsOf(options, progress);
  let broken: string | undefined;
  const rows = await overFleet(records, rollback ? 'go back' : 'replace', options, progress, async (record) => {
    // An image that fails one would fail the others: they stay as they are.
    if (broken) throw new BuildError('replace', `not begun, since ${broken} failed`, 'mend that first');
    try {
      return rollback
        ? await rollBack(record, hands, progress)
        : await replaceInstance(record, { suspect }, hands, progress);
    } catch (error) {
      broken ??= record.instance_id;
      throw error;
    }
  });
  tell(rows, rollback ? 'rollback' : 'replace', json);
}

/** Whether it is nobody's predecessor, and this tool launched it. */
function isCurrent({ instance_id: id, cloud }: InstanceRecord): boolean {
  return cloud !== 'other' && !listRecords().records.some(({ replaces }) => replaces === id);
}

function planOf(record: InstanceRecord, { image, suspect, rollback, edge }: Options): string[] {
  const { instance_id: id, image_id, replaces } = record;
  if (rollback)
    return [
      `${id}: have ${replaces ?? 'nobody'} go on, with a new OpenRouter key; lead the slugs of ${edge} to it; switch ${id} off`,
    ];
  return [
    `${id}: launch ${image} of ${baseOf(image_id)} in its place, with its owner, keys and front`,
    `${id}: end its OpenClaw, move its home${suspect ? ', documents alone' : ''}, sealed to the new one`,
    `${id}: mint an OpenRouter key for the new one, where it has one; have the new one check itself`,
    `${id}: lead the slugs of ${edge} to the new one; it stays, quiet, until it is destroyed or gone back to`,
  ];
}
