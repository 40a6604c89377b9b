import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Machines } from '../clouds/machines.ts';
import { jsonOf } from '../contract/text.ts';
import { identify, isAlive } from '../process/guarded.ts';
import { forget } from './local/stop.ts';
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

/** Launches whose process is gone, and notes that can't be read: something may run for them. */
export function cutLaunches(): { cut: LaunchNote[]; unreadable: string[] } {
  const dir = launchesDir();
  const files = existsSync(dir)
    ? readdirSync(dir).filter((name) => name.endsWith('.json') && !name.startsWith('.'))
    : [];
  const cut: LaunchNote[] = [];
  const unreadable: string[] = [];
  for (const name of files) {
    const parsed = journalSchema.safeParse(jsonOf(readFileSync(join(dir, name), 'utf8')));
    if (!parsed.success) unreadable.push(join(dir, name));
    else if (!isAlive(parsed.data.owner)) cut.push(parsed.data);
  }
  return { cut, unreadable };
}

/**
 * Brings launches to an end that were killed: one that has its record and its machine stays, of any other nothing does. One that can't
 * be brought there now keeps nobody from anything else.
 * @param open the machines of a cloud.
 * @returns what was done, and what couldn't be, in words.
 */
export async function settleLaunches(open: (cloud: string, region: string) => Promise<Machines>): Promise<string[]> {
  const { cut, unreadable } = cutLaunches();
  const said = unreadable.map((file) => `${file} can't be read: put it back, or look for what it launched by hand`);
  for (const note of cut) {
    try {
      said.push(await settle(note, open));
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      said.push(`${note.cloud}: what a killed launch (${note.run}) left isn't removed yet: ${why}`);
    }
  }
  return said;
}

async function settle(
  { cloud, region, run }: LaunchNote,
  open: (cloud: string, region: string) => Promise<Machines>,
): Promise<string> {
  const record = listRecords().records.find((one) => one.run === run);
  const machines = await open(cloud, region);
  try {
    const stays = record && (await machines.machine(region, record.instance_id));
    if (stays) await machines.keep(region, record.instance_id);
    else await machines.sweep(region, run);
    if (record && !stays) forget(record.instance_id);
    rmSync(join(launchesDir(), `${run}.json`), { force: true });
    return stays
      ? `${record.instance_id}: its launch was killed at its end; it is kept`
      : `${cloud}: a launch was killed; what was left of it is removed`;
  } finally {
    machines.close();
  }
}
