import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Machines } from '../clouds/machines.ts';
import { jsonOf } from '../contract/text.ts';
import { BuildError } from '../process/errors.ts';
import { identify, isAlive } from '../process/guarded.ts';
import { launchesDir } from './places.ts';
import { listRecords } from './records.ts';
import { writeWhole } from './write-once.ts';

const journalSchema = z.strictObject({
  version: z.literal(1),
  cloud: z.string(),
  region: z.string(),
  run: z.string().regex(/^[a-z0-9-]{1,40}$/),
  /** The process that launches. */
  owner: z.strictObject({ pid: z.number(), start_ticks: z.number(), boot_id: z.string() }),
});
export type LaunchNote = z.output<typeof journalSchema>;

/** Unlike any other, and the newest last in a list. */
export const newRun = () => `launch-${Date.now().toString(36)}-${randomBytes(4).toString('hex')}`;

/** Notes a launch before anything is made for it. @returns what ends the note, once nothing is left to do. */
export function beginLaunch(cloud: string, region: string, run: string): () => void {
  const dir = launchesDir();
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const file = join(dir, `${run}.json`);
  const owner = identify(process.pid);
  writeWhole(file, `${JSON.stringify({ version: 1, cloud, region, run, owner })}\n`, 'always');
  return () => rmSync(file, { force: true });
}

/** Launches whose process is gone. @throws BuildError (input) for a note that can't be read: something may run for it. */
export function cutLaunches(): LaunchNote[] {
  const dir = launchesDir();
  if (!existsSync(dir)) return [];
  return readdirSync(dir)
    .filter((name) => name.endsWith('.json') && !name.startsWith('.'))
    .map((name) => {
      const parsed = journalSchema.safeParse(jsonOf(readFileSync(join(dir, name), 'utf8')));
      if (parsed.success) return parsed.data;
      throw new BuildError(
        'launch',
        `${join(dir, name)} can't be read`,
        'put back the file, or look at that cloud by hand',
      );
    })
    .filter(({ owner }) => !isAlive(owner));
}

/**
 * Brings launches to an end that were killed: one that has its record stays, of any other nothing does.
 * @param open the machines of a cloud.
 * @returns what was done, in words.
 */
export async function settleLaunches(open: (cloud: string, region: string) => Promise<Machines>): Promise<string[]> {
  const said: string[] = [];
  for (const { cloud, region, run } of cutLaunches()) {
    const record = listRecords().records.find((one) => one.run === run);
    const machines = await open(cloud, region);
    try {
      if (record) await machines.keep(region, record.instance_id);
      else await machines.sweep(region, run);
    } finally {
      machines.close();
    }
    rmSync(join(launchesDir(), `${run}.json`), { force: true });
    said.push(
      record
        ? `${record.instance_id}: its launch was killed at its end; it is kept`
        : `${cloud}: a launch was killed; what was left of it is removed`,
    );
  }
  return said;
}
