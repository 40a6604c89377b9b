import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';
import type { bansSchema } from '../contract/ops.ts';
import { bansFile } from '../launch/places.ts';
import { writeWhole } from '../launch/write-once.ts';
import { inputError } from '../process/errors.ts';
import { type Ban, bannable, type Report } from './bans.ts';

/** Milliseconds that a ban counts after an instance last told it, however long it says: a week. An instance that is gone is forgotten so. */
const LONGEST_MS = 7 * 86_400_000;

const ban = z.strictObject({ address: z.string(), since: z.iso.datetime(), until: z.iso.datetime() });
const askedSchema = z.strictObject({
  /** When instances were last asked: what had ended by then is over. */
  asked: z.iso.datetime(),
  reports: z.record(z.string(), z.strictObject({ owner: z.string(), hosts: z.array(z.string()), bans: z.array(ban) })),
});
/** Of one inventory, by its proxy. */
export type Asked = z.output<typeof askedSchema>;

const schema = z.strictObject({ version: z.literal(1), proxies: z.record(z.string(), askedSchema) });
export type Reports = z.output<typeof schema>;

/** @throws BuildError (input) where the file isn't what was written there. */
export function readReports(): Reports {
  const file = bansFile();
  if (!existsSync(file)) return { version: 1, proxies: {} };
  try {
    return schema.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch {
    throw inputError('edge', `${file} isn't what was written there`, 'remove it: npm run edge -- bans asks all anew');
  }
}

/** Keeps what counts still, for the next plan and for when an instance isn't reached. */
export function writeReports(reports: Reports): void {
  mkdirSync(dirname(bansFile()), { recursive: true, mode: 0o700 });
  writeWhole(bansFile(), `${JSON.stringify(reports, null, 2)}\n`, 'always');
}

/** All reports, with what counted when their instances were asked. @returns undefined where this machine has never asked any. */
export function countedReports(): Report[] | undefined {
  const asked = Object.values(readReports().proxies);
  if (!asked.length) return undefined;
  return asked.flatMap(({ asked: when, reports }) =>
    Object.values(reports).map((report) => ({ ...report, bans: report.bans.filter(({ until }) => until > when) })),
  );
}

/**
 * What of an instance's signed answer counts.
 * @param now when it came, by this machine's clock: the instance's own may be anything.
 */
export function bansTold(told: z.output<typeof bansSchema>, now: number): Ban[] {
  const latest = new Date(now + LONGEST_MS).toISOString();
  const plain = (time: string) => new Date(time).toISOString();
  return told.bans.flatMap(({ address: said, since, until }) => {
    const address = bannable(said);
    if (!address) return [];
    const ends = until === null || plain(until) > latest ? latest : plain(until);
    return [{ address, since: plain(since), until: ends }];
  });
}

/** An instance of the inventory, and what it told; undefined where it didn't answer. */
export interface Heard {
  owner: string;
  hosts: string[];
  bans: Ban[] | undefined;
}

/**
 * What counts after all instances of an inventory have been asked: of who didn't answer the bans that it told before, for whom and on
 * which hosts the inventory says now; of who isn't there any more nothing.
 */
export function renewed(kept: Asked | undefined, heard: Map<string, Heard>, now: number): Asked {
  const asked = new Date(now).toISOString();
  const reports = [...heard].map(([instance, { owner, hosts, bans }]) => {
    const told = bans ?? kept?.reports[instance]?.bans ?? [];
    // Somebody who writes themselves in two ways is one.
    return [instance, { owner: owner.toLowerCase(), hosts, bans: told.filter(({ until }) => until > asked) }] as const;
  });
  return { asked, reports: Object.fromEntries(reports) };
}
