/** What every registry does alike: forms, and that nothing older replaces what is newer. */
import { type Entry, entrySchema } from '../../../../src/contract/edge.ts';

/** An entry as new or newer is there already. */
export class StaleEntry extends Error {}

/** @throws Error where the text isn't an entry of this slug. */
export function readEntry(slug: string, text: string): Entry {
  const { success, data } = entrySchema.safeParse(JSON.parse(text));
  // An entry under another's name would lead its visitors there.
  if (!success || data.slug !== slug) throw new Error(`the registry's entry of ${slug} isn't one`);
  return data;
}

/** @throws StaleEntry unless `next` is newer than `kept`; a repetition of the same is taken. */
export function checkNewer(kept: Entry | undefined, next: Entry): void {
  if (!kept || next.revision > kept.revision) return;
  if (next.revision === kept.revision && JSON.stringify(next) === JSON.stringify(kept)) return;
  throw new StaleEntry(`revision ${kept.revision} of ${next.slug} is there already`);
}
