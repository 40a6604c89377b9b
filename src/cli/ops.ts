import { readFileSync } from 'node:fs';
import { Command, InvalidArgumentError } from 'commander';
import pMap from 'p-map';
import { VERB } from '../contract/ops.ts';
import { type InstanceRecord, listRecords, readRecord } from '../launch/records.ts';
import { ask } from '../ops/channel.ts';
import { status } from '../ops/status.ts';
import { BuildError, inputError, renderError } from '../process/errors.ts';
import { Progress } from '../process/progress.ts';
import { agreed } from './agreed.ts';

interface Options {
  all: boolean;
  args?: string;
  concurrency: number;
  yes: boolean;
  json: boolean;
}

/** Verbs that only look. */
const LOOKS = new Set(['status', 'logs', 'selfcheck']);

const EXAMPLES = `
Examples:
  npm run -s ops -- local-3f9c2a71 status                  signed by the instance, and checked here
  npm run -s ops -- --all status --json
  echo '{"unit":"openclaw"}' | npm run -s ops -- local-3f9c2a71 logs --args -
  npm run ops -- local-3f9c2a71 set-openrouter-key --args key.json --yes

Arguments are JSON, from a file or standard input, because some are secret. The verbs are in docs/ops.md.`;

export function opsCommand(): Command {
  return new Command('ops')
    .description("put a request to instances' operators' channel")
    .argument('[instance]', 'its ID; or --all')
    .argument('[verb]', 'what to do')
    .option('--all', 'every instance that has a record here', false)
    .option('--args <file>', 'the arguments, a JSON object; - is standard input')
    .option('--concurrency <n>', 'so many instances at a time', count, 8)
    .option('--yes', "don't ask, where something changes", false)
    .option('--json', 'the results, and only they, on standard output', false)
    .addHelpText('after', EXAMPLES)
    .action((first: string | undefined, second: string | undefined, options: Options) =>
      run(options.all ? undefined : first, options.all ? first : second, options),
    );
}

function count(text: string): number {
  if (!/^[1-9]\d?$/.test(text)) throw new InvalidArgumentError('a whole number, 1 to 99');
  return Number(text);
}

interface Row {
  instance: string;
  ok: boolean;
  result?: unknown;
  error?: string;
}

async function run(instance: string | undefined, verb: string | undefined, options: Options): Promise<void> {
  const { all, yes, json, concurrency } = options;
  if (!verb || (!all && !instance))
    throw inputError('ops', 'an instance (or --all) and a verb are wanted', 'npm run -s ops -- --help');
  if (!VERB.test(verb)) throw inputError('ops', `${JSON.stringify(verb)} is no verb`, 'docs/ops.md has them');
  const args = options.args === undefined ? {} : readArgs(options.args);
  const records = all ? everyRecord() : [readRecord(instance as string)];
  const names = records.map(({ instance_id }) => instance_id).join(', ');
  if (!LOOKS.has(verb) && !yes && !(await agreed('ops', `${verb} on ${names}?`))) return;
  const progress = new Progress();
  const rows = await pMap(records, (record) => askOne(record, verb, args, progress), { concurrency });
  const failed = rows.filter(({ ok }) => !ok);
  process.stdout.write(json ? `${JSON.stringify(rows)}\n` : render(rows));
  if (failed.length > 0)
    throw new BuildError(
      'ops',
      `${verb} failed on ${failed.length} of ${rows.length}: ${failed.map((row) => row.instance).join(', ')}`,
      'mend the cause, then the same command on those',
    );
}

function everyRecord(): InstanceRecord[] {
  const { records, faults } = listRecords();
  for (const fault of faults) process.stderr.write(`${renderError(fault)}\n`);
  if (records.length === 0) throw inputError('ops', 'there are no instances', 'npm run launch makes one');
  return records;
}

async function askOne(
  record: InstanceRecord,
  verb: string,
  args: Record<string, unknown>,
  progress: Progress,
): Promise<Row> {
  const { instance_id: id } = record;
  try {
    const result = await progress.step(`${id}: ${verb}`, () =>
      verb === 'status' ? status(record) : ask(record, verb, args),
    );
    return { instance: id, ok: true, result };
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    return { instance: id, ok: false, error: error.message };
  }
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

function render(rows: Row[]): string {
  return rows
    .map(({ instance, ok, result, error }) => `${instance}: ${ok ? JSON.stringify(result, null, 2) : `✖ ${error}`}\n`)
    .join('');
}
