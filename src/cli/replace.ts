import { existsSync, mkdirSync } from 'node:fs';
import { Command } from 'commander';
import { replacementsDir } from '../launch/places.ts';
import { whichRun } from '../launch/power.ts';
import { type InstanceRecord, readRecord } from '../launch/records.ts';
import { renderLaunched } from '../launch/render.ts';
import { chosenRecords, type FleetOptions, fleetOptions, overFleet, tell } from '../ops/fleet.ts';
import { BuildError, inputError, renderError } from '../process/errors.ts';
import { Progress } from '../process/progress.ts';
import { lockFolders } from '../publish/lock.ts';
import { isCurrent } from '../replace/current.ts';
import { baseOf, handsOf } from '../replace/hands.ts';
import { readReplacement } from '../replace/journal.ts';
import { type Hands, replaceInstance, rollBack } from '../replace/replace.ts';
import { agreed } from './agreed.ts';
import { clearUp } from './instances.ts';

interface Options extends FleetOptions {
  image: string;
  edge?: string | undefined;
  from?: string[];
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
    .option('--edge <file>', 'whose slugs lead to it; default: edge.yaml, where there is one')
    .option('--from <networks...>', "this computer's, for instances whose bundle is learnt by the operators' channel")
    .option('--suspect', 'carry documents alone: nothing that a machine or the agent would act upon', false)
    .option('--rollback', 'the instance took a place: go back to the one before, as it was then', false)
    .option('--plan', 'say what would happen and stop', false)
    .option('--yes', "don't ask", false)
    .option('--json', 'the results, and only they, on standard output', false)
    .addHelpText('after', EXAMPLES)
    .action(replace);
  // An image that is no good is to be noticed at the first.
  for (const option of fleetOptions()) command.addOption(option.long === '--concurrency' ? option.default(1) : option);
  return command;
}

async function replace(instance: string | undefined, options: Options): Promise<void> {
  process.umask(0o077);
  const { all, rollback, suspect, image, plan, json, yes } = options;
  if (all === Boolean(instance)) throw inputError('replace', 'which instance?', 'its ID, or --all');
  if (all && rollback) throw inputError('replace', '--all with --rollback', 'go back one by one');
  if (suspect && rollback) throw inputError('replace', '--suspect with --rollback', 'one of them');
  if (plan) {
    const wanted = { ...options, edge: edgeOf(options) };
    const hands = handsOf(wanted, new Progress());
    const steps = [];
    for (const record of await chosen(all, instance)) steps.push(...(await planOf(record, wanted, hands)));
    process.stdout.write(json ? `${JSON.stringify({ stage: 'replace', steps })}\n` : `${steps.join('\n')}\n`);
    return;
  }
  await clearUp();
  mkdirSync(replacementsDir(), { recursive: true, mode: 0o700 });
  const release = await lockFolders([replacementsDir()], 'who is whose successor');
  try {
    const records = await chosen(all, instance);
    const names = records.map(({ instance_id }) => instance_id).join(', ');
    const question = rollback
      ? `go back from ${names}? What was done there since stays on its disk alone`
      : `replace ${names || 'nobody'} by ${image}? Each is away while its home moves`;
    if (!yes && !(await agreed('replace', question))) return;
    await perform(records, options);
  } finally {
    await release();
  }
}

const edgeOf = ({ edge }: Options) => edge ?? (existsSync('edge.yaml') ? 'edge.yaml' : undefined);

/** With `all` those that are current and on: one that is off serves nobody. */
async function chosen(all: boolean, instance: string | undefined): Promise<InstanceRecord[]> {
  const records = chosenRecords(all, instance).filter((record) => !all || isCurrent(record));
  const runs = all ? await whichRun(records) : [];
  return records.filter(({ instance_id }, index) => runs[index] !== false || readReplacement(instance_id));
}

async function perform(records: InstanceRecord[], options: Options): Promise<void> {
  const { rollback, suspect, json } = options;
  const progress = new Progress();
  const hands = handsOf({ ...options, edge: edgeOf(options) }, progress);
  let broken: string | undefined;
  const rows = await overFleet(records, rollback ? 'go back' : 'replace', options, progress, async (record) => {
    // An image that fails one would fail the others: they stay as they are.
    if (broken) throw new BuildError('replace', `not begun, since ${broken} failed`, 'mend that first');
    try {
      const result = rollback
        ? await rollBack(record, hands, progress)
        : await replaceInstance(record, { suspect }, hands, progress);
      process.stderr.write(renderLaunched(readRecord(result.next)));
      return result;
    } catch (error) {
      broken ??= record.instance_id;
      // A row has one line of it.
      process.stderr.write(`${renderError(error)}\n`);
      throw error;
    }
  });
  tell(rows, rollback ? 'rollback' : 'replace', json);
}

/** @throws BuildError where it would fail for what is missing now. */
async function planOf(record: InstanceRecord, { image, suspect, rollback }: Options, hands: Hands): Promise<string[]> {
  const { instance_id: id, image_id, replaces } = record;
  if (rollback && !replaces) throw inputError('replace', `${id} took nobody's place`, 'npm run -s launch -- list');
  const slugs = (rollback ? hands.slugs(record) : await hands.prepare(record)).join(', ') || 'no slug';
  if (rollback)
    return [`${id}: have ${replaces} go on, with a new OpenRouter key; lead ${slugs} to it; switch ${id} off`];
  return [
    `${id}: launch ${image} of ${baseOf(image_id)} in its place, with its owner, keys and front`,
    `${id}: end its OpenClaw, move its home${suspect ? ', documents alone' : ''}, sealed to the new one`,
    `${id}: mint an OpenRouter key for the new one, where it has one; have the new one check itself`,
    `${id}: lead ${slugs} to the new one; switch it off, until it is destroyed or gone back to`,
  ];
}
