import { InvalidArgumentError, Option } from 'commander';
import pMap from 'p-map';
import { type InstanceRecord, listRecords, readRecord } from '../launch/records.ts';
import { BuildError, inputError, plain, renderError } from '../process/errors.ts';
import type { Progress } from '../process/progress.ts';

/** Of a command that is about one instance or all. */
export interface FleetOptions {
  all: boolean;
  concurrency: number;
}

export function fleetOptions(): Option[] {
  return [
    new Option('--all', 'every instance that has a record here').default(false),
    new Option('--concurrency <n>', 'so many instances at a time').argParser(count).default(8),
  ];
}

function count(text: string): number {
  if (!/^[1-9]\d?$/.test(text)) throw new InvalidArgumentError('a whole number, 1 to 99');
  return Number(text);
}

/** What came of one instance. */
export interface Row {
  instance: string;
  ok: boolean;
  result?: unknown;
  error?: string;
}

/** @throws BuildError (input) where there is none. What can't be read among all is said, and left out. */
export function chosenRecords(all: boolean, instance: string | undefined): InstanceRecord[] {
  if (!all) return [readRecord(instance as string)];
  const { records, faults } = listRecords();
  for (const fault of faults) process.stderr.write(`${renderError(fault)}\n`);
  if (records.length === 0) throw inputError('instances', 'there are no instances', 'npm run launch makes one');
  return records;
}

/** Does something with many instances, some at a time; what fails with one is its row's. */
export function overFleet(
  records: InstanceRecord[],
  what: string,
  { concurrency }: FleetOptions,
  progress: Progress,
  work: (record: InstanceRecord, detail: (text: string) => void) => Promise<unknown>,
): Promise<Row[]> {
  return pMap(
    records,
    async (record) => {
      const { instance_id: instance } = record;
      try {
        const result = await progress.step(`${instance}: ${what}`, ({ detail }) => work(record, detail));
        return { instance, ok: true, result };
      } catch (error) {
        if (!(error instanceof BuildError)) throw error;
        return { instance, ok: false, error: error.message };
      }
    },
    { concurrency },
  );
}

/** Prints all rows. @throws BuildError that names those that failed. */
export function tell(rows: Row[], what: string, json: boolean): void {
  const lines = rows.map(({ instance, ok, result, error }) => {
    const said = typeof result === 'string' ? result : JSON.stringify(result, null, 2);
    return `${instance}: ${ok ? plain(said) : `✖ ${plain(error ?? '')}`}\n`;
  });
  process.stdout.write(json ? `${JSON.stringify(rows)}\n` : lines.join(''));
  const failed = rows.filter(({ ok }) => !ok);
  if (failed.length > 0)
    throw new BuildError(
      'instances',
      `${what} failed on ${failed.length} of ${rows.length}: ${failed.map((row) => row.instance).join(', ')}`,
      'mend the cause, then the same command on those',
    );
}
