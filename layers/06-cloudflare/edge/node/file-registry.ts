import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Entry, entrySchema, SLUG } from '../../../../src/contract/edge.ts';
import type { Registry } from '../core/runtime.ts';

/** A file for each instance, read again when it has changed; for one process. @param folder its own, closed to others. */
export function fileRegistry(folder: string): Registry {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const known = new Map<string, { mtimeNs: bigint; entry: Entry }>();
  const get = async (slug: string): Promise<Entry | undefined> => {
    const file = join(folder, `${slug}.json`);
    if (!SLUG.test(slug) || !existsSync(file)) return undefined;
    const { mtimeNs } = statSync(file, { bigint: true });
    const before = known.get(slug);
    if (before?.mtimeNs === mtimeNs) return before.entry;
    const entry = entrySchema.parse(JSON.parse(readFileSync(file, 'utf8')));
    known.set(slug, { mtimeNs, entry });
    return entry;
  };
  return {
    get,
    put: async (entry) => {
      const now = await get(entry.slug);
      if (now && now.revision > entry.revision) return false;
      const part = join(folder, `.${entry.slug}.${randomUUID()}`);
      try {
        writeFileSync(part, JSON.stringify(entry), { mode: 0o600, flush: true });
        renameSync(part, join(folder, `${entry.slug}.json`));
      } finally {
        rmSync(part, { force: true });
      }
      known.delete(entry.slug);
      return true;
    },
  };
}
