import { Command } from 'commander';
import { GATE_HEADERS } from '../contract/gate.ts';
import { retireKeys } from '../keys/retire.ts';
import { settleLaunches } from '../launch/journal.ts';
import { sweep } from '../launch/local/owner.ts';
import { decryptWith, readOperator } from '../launch/operator.ts';
import { destroyInstance, openMachines, startInstance, stopInstance, whichRun } from '../launch/power.ts';
import { type InstanceRecord, listRecords, readRecord } from '../launch/records.ts';
import { publicView, renderTable } from '../launch/render.ts';
import { EXIT, inputError, renderError } from '../process/errors.ts';
import { Progress } from '../process/progress.ts';
import { cutReplacements, refuseAmidst } from '../replace/current.ts';
import { agreed } from './agreed.ts';

/** The commands about instances that were launched: `list`, `stop`, `start`, `destroy`, `header`. */
export function instanceCommands(): Command[] {
  return [
    listCommand(),
    change('stop', 'switch an instance off; its disk stays', 'switch {} off?', stopInstance),
    change('start', 'switch it on again', undefined, startInstance),
    change('destroy', 'end an instance, remove its disk and its record', 'destroy {} and its disk, for good?', destroy),
    headerCommand(),
  ];
}

/** Its key at OpenRouter would go on without it. */
async function destroy(record: InstanceRecord, progress: Progress): Promise<void> {
  refuseAmidst(record);
  // Whoever made it; one that was launched by other means runs on, and so does its key.
  if (record.cloud !== 'other') await retireKeys(record);
  await destroyInstance(record, progress);
}

/** Removes what is left of killed launches, and says so. @returns IDs of local ones. */
export async function clearUp(): Promise<string[]> {
  const ids = sweep();
  for (const id of ids) process.stderr.write(`${id}: its launch was killed; what was left of it is removed\n`);
  for (const said of await settleLaunches(openMachines)) process.stderr.write(`${said}\n`);
  return ids;
}

function listCommand(): Command {
  return new Command('list')
    .description('the instances that were launched')
    .option('--json', 'as JSON', false)
    .action(async ({ json }: { json: boolean }) => {
      await clearUp();
      const { records, faults } = listRecords();
      const running = await whichRun(records);
      const list = records.map((record, index) => ({ ...publicView(record), running: running[index] }));
      process.stdout.write(json ? `${JSON.stringify(list)}\n` : renderTable(records, running));
      for (const said of cutReplacements(records)) process.stderr.write(`${said}\n`);
      for (const fault of faults) process.stderr.write(`${renderError(fault)}\n`);
      if (faults.length) process.exitCode = EXIT.input;
    });
}

/** @param question with `{}` for the instance; undefined: it isn't asked. */
function change(
  name: string,
  description: string,
  question: string | undefined,
  act: (record: InstanceRecord, progress: Progress) => Promise<void>,
): Command {
  return new Command(name)
    .description(description)
    .argument('<id>')
    .option('--yes', "don't ask", false)
    .action(async (id: string, { yes }: { yes: boolean }) => {
      if ((await clearUp()).includes(id)) return;
      const record = readRecord(id);
      const forgotten = name === 'destroy' && record.cloud === 'other';
      const what = forgotten ? `forget ${id}? It runs on: end it where it was launched` : question?.replace('{}', id);
      if (what && !yes && !(await agreed(name, what))) return;
      await act(record, new Progress());
    });
}

function headerCommand(): Command {
  return new Command('header')
    .description("print the request header with an instance's code: for a pipe, not for a screen")
    .argument('<id>')
    .option('--show', 'on a terminal too', false)
    .action(async (id: string, { show }: { show: boolean }) => {
      const record = readRecord(id);
      if (process.stdout.isTTY && !show) {
        throw inputError(
          'header',
          "the code isn't shown on a terminal",
          `pipe it: … header ${id} | curl -H @- …, or add --show`,
        );
      }
      const { identity } = await readOperator();
      const name = GATE_HEADERS.code.replaceAll(/\b[a-z]/g, (letter) => letter.toUpperCase());
      process.stdout.write(`${name}: ${await decryptWith(identity, record.code_encrypted)}\n`);
    });
}
