/** What is kept: its form, and that nothing older replaces what is newer, whoever keeps it. */
import type { z } from 'zod';
import { type Entry, entrySchema } from '../../../../src/contract/edge.ts';
import { type Enrolment, enrolmentSchema } from '../../../../src/contract/edge-enrolment.ts';

export interface Kind<Kept extends { revision: number }> {
  /** Begins the names in a store that has all kinds. */
  prefix: string;
  schema: z.ZodType<Kept>;
  nameOf(kept: Kept): string;
  /** Seconds since 1970 after which it need not be kept. */
  expires?(kept: Kept): number;
}

export const ENTRIES: Kind<Entry> = { prefix: 'instance:', schema: entrySchema, nameOf: ({ slug }) => slug };
export const ENROLMENTS: Kind<Enrolment> = {
  ...{ prefix: 'enrolment:', schema: enrolmentSchema },
  ...{ nameOf: ({ launchId }) => launchId, expires: ({ expires }) => expires },
};

/** One as new or newer is there already. */
export class Stale extends Error {}

/** @throws Error where the text isn't a thing of this kind and name. */
export function readKept<Kept extends { revision: number }>(kind: Kind<Kept>, name: string, text: string): Kept {
  const { success, data } = kind.schema.safeParse(JSON.parse(text));
  // An entry under another's name would lead its visitors there.
  if (!success || kind.nameOf(data) !== name)
    throw new Error(`what is kept of ${kind.prefix}${name} isn't of its form`);
  return data;
}

/** @throws Stale unless `next` is newer than `kept`; a repetition of the same is taken. */
export function checkNewer(kept: { revision: number } | undefined, next: { revision: number }): void {
  if (!kept || next.revision > kept.revision) return;
  if (next.revision === kept.revision && JSON.stringify(next) === JSON.stringify(kept)) return;
  throw new Stale(`revision ${kept.revision} is there already`);
}
