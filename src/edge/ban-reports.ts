import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';
import type { bansSchema } from '../contract/ops.ts';
import { bansFile } from '../launch/places.ts';
import { writeWhole } from '../launch/write-once.ts';
import { inputError } from '../process/errors.ts';
import { bannable, type Report } from './bans.ts';

/** Milliseconds that a ban counts after an instance last told it, however long it says: a week. An instance that is gone is forgotten so. */
const LONGEST_MS = 7 * 86_400_000;

const ban = z.strictObject({ address: z.string(), since: z.iso.datetime(), until: z.iso.datetime() });
const schema = z.strictObject({
  version: z.literal(1),
  /** When instances were last asked: what had ended by then is over. */
  asked: z.iso.datetime(),
  reports: z.record(z.string(), z.strictObject({ owner: z.string(), hosts: z.array(z.string()), bans: z.array(ban) })),
});
export type Reports = z.output<typeof schema>;

/** @throws BuildError (input) where the file isn't what was written there. */
export function readReports(): Reports {
  const file = bansFile();
  if (!existsSync(file)) return { version: 1, asked: new Date(0).toISOString(), reports: {} };
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

/**
 * What of an instance's signed answer counts.
 * @param now when it came, by this machine's clock: the instance's own may be anything.
 */
export function reportOf(told: z.output<typeof bansSchema>, owner: string, hosts: string[], now: number): Report {
  const latest = new Date(now + LONGEST_MS).toISOString();
  const plain = (time: string) => new Date(time).toISOString();
  const bans = told.bans.flatMap(({ address: said, since, until }) => {
    const address = bannable(said);
    if (!address) return [];
    const ends = until === null || plain(until) > latest ? latest : plain(until);
    return [{ address, since: plain(since), until: ends }];
  });
  return { owner, hosts, bans };
}

/**
 * What counts after all instances have been asked: of who didn't answer what was told before, of who isn't there any more nothing.
 * @param fresh by instance; undefined where it didn't answer.
 */
export function renewed(kept: Reports, fresh: Map<string, Report | undefined>, now: number): Reports {
  const asked = new Date(now).toISOString();
  const reports = [...fresh].flatMap(([instance, told]) => {
    const report = told ?? kept.reports[instance];
    return report ? [[instance, { ...report, bans: report.bans.filter(({ until }) => until > asked) }] as const] : [];
  });
  return { version: 1, asked, reports: Object.fromEntries(reports) };
}
