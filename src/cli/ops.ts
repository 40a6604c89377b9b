import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { VERB } from '../contract/ops.ts';
import { chosenRecords, type FleetOptions, fleetOptions, overFleet, tell } from '../ops/fleet.ts';
import { perform } from '../ops/verbs.ts';
import { inputError } from '../process/errors.ts';
import { Progress } from '../process/progress.ts';
import { agreed } from './agreed.ts';
import { moveHome, STATE } from './ops-state.ts';

interface Options extends FleetOptions {
  args?: string;
  file?: string;
  yes: boolean;
  json: boolean;
}

/** Verbs that only look. */
const LOOKS = new Set(['status', 'logs', 'selfcheck', 'diagnostics', 'bans', 'tell']);

const EXAMPLES = `
Examples:
  npm run -s ops -- local-3f9c2a71 status                  signed by the instance, and checked here
  npm run -s ops -- --all status --json
  echo '{"unit":"openclaw"}' | npm run -s ops -- local-3f9c2a71 logs --args -
  npm run ops -- local-3f9c2a71 set-openrouter-key --args key.json --yes
  npm run ops -- local-3f9c2a71 state-export --file home.age     a backup; state-import takes it in again

Arguments are JSON, from a file or standard input, because some are secret. The verbs are in docs/ops.md.`;

export function opsCommand(): Command {
  const command = new Command('ops')
    .description("put a request to instances' operators' channel")
    .argument('[instance]', 'its ID; or --all')
    .argument('[verb]', 'what to do')
    .option('--args <file>', 'the arguments, a JSON object; - is standard input')
    .option('--file <file>', "of state-export and state-import: the agent's home, sealed to your own key")
    .option('--yes', "don't ask, where something changes", false)
    .option('--json', 'the results, and only they, on standard output', false)
    .addHelpText('after', EXAMPLES)
    .action((first: string | undefined, second: string | undefined, options: Options) =>
      run(options.all ? undefined : first, options.all ? first : second, options),
    );
  for (const option of fleetOptions()) command.addOption(option);
  return command;
}

async function run(instance: string | undefined, verb: string | undefined, options: Options): Promise<void> {
  const { all, yes, json } = options;
  if (!verb || (!all && !instance))
    throw inputError('ops', 'an instance (or --all) and a verb are wanted', 'npm run -s ops -- --help');
  if (!VERB.test(verb)) throw inputError('ops', `${JSON.stringify(verb)} is no verb`, 'docs/ops.md has them');
  if (STATE.has(verb) && (all || !options.file))
    throw inputError('ops', `${verb} is of one instance, and wants --file`, 'npm run -s ops -- --help');
  const args = options.args === undefined ? {} : readArgs(options.args);
  const records = chosenRecords(all, instance);
  const names = records.map(({ instance_id }) => instance_id).join(', ');
  if (!LOOKS.has(verb) && !yes && !(await agreed('ops', `${verb} on ${names}?`))) return;
  const rows = await overFleet(records, verb, options, new Progress(), (record) =>
    STATE.has(verb) ? moveHome(record, verb, args, options.file) : perform(record, verb, args),
  );
  tell(rows, verb, json);
}

/** @throws BuildError (input) for what is no JSON object; its content is never repeated. */
function readArgs(file: string): Record<string, unknown> {
  let document: unknown;
  try {
    document = JSON.parse(readFileSync(file === '-' ? 0 : file, 'utf8'));
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code ?? "it isn't JSON";
    throw inputError('ops', `the arguments can't be read from ${file}: ${why}`, 'a JSON object is wanted: docs/ops.md');
  }
  if (typeof document !== 'object' || document === null || Array.isArray(document))
    throw inputError('ops', `the arguments in ${file} are no JSON object`, 'docs/ops.md');
  return document as Record<string, unknown>;
}
