import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { checkId, keysDir } from '../launch/places.ts';
import { writeWhole } from '../launch/write-once.ts';
import { inputError } from '../process/errors.ts';

const entrySchema = z.strictObject({
  /** At OpenRouter; unlike any other, so that one whose hash was never heard is found. */
  name: z.string().startsWith('clawdy/'),
  hash: z.string().min(1).nullable(),
  /** SHA-256 of the key, hex: by it the box says which one it has. The key itself is never written down. */
  digest: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .nullable(),
  /** `creating` before the call; `created`: on its way to the box; `current`: there; `disabled`; `gone`. */
  phase: z.enum(['creating', 'created', 'current', 'disabled', 'gone']),
  created: z.iso.datetime(),
  disabled: z.iso.datetime().nullable(),
});
export type KeyEntry = z.output<typeof entrySchema>;

const journalSchema = z.strictObject({ version: z.literal(1), instance: z.string(), keys: z.array(entrySchema) });

/** What was done about one instance's keys; on disk before and after each call that changes something. */
export class KeyJournal {
  readonly instance: string;
  readonly keys: KeyEntry[];

  private constructor(instance: string, keys: KeyEntry[]) {
    this.instance = instance;
    this.keys = keys;
  }

  /** @throws BuildError (input) when it can't be read; the file stays as it is. */
  static open(instance: string): KeyJournal {
    const file = fileOf(instance);
    if (!existsSync(file)) return new KeyJournal(instance, []);
    let document: unknown;
    try {
      document = JSON.parse(readFileSync(file, 'utf8'));
    } catch {
      throw unreadable(file, "it isn't JSON");
    }
    const { data, error } = journalSchema.safeParse(document);
    if (!data) throw unreadable(file, z.prettifyError(error));
    if (data.instance !== instance) throw unreadable(file, `it is of ${data.instance}`);
    return new KeyJournal(instance, data.keys);
  }

  add(name: string): KeyEntry {
    const entry: KeyEntry = {
      ...{ name, hash: null, digest: null, phase: 'creating', created: new Date().toISOString(), disabled: null },
    };
    this.keys.push(entry);
    this.#save();
    return entry;
  }

  /**
   * What OpenRouter has of this instance's keys counts, whoever made them: keys of another operator's, or of a journal that was lost, come in
   * as older than ours; what isn't there any more is gone.
   */
  adopt(listed: { name: string; hash: string; disabled: boolean }[]): void {
    const known = new Set(this.keys.map(({ hash }) => hash));
    // One whose hash was never heard is ours all the same, and is looked for by its name.
    const awaited = new Set(this.keys.filter(({ phase }) => phase === 'creating').map(({ name }) => name));
    const now = new Date().toISOString();
    const foreign = listed.filter(({ hash, name }) => !known.has(hash) && !awaited.has(name));
    this.keys.unshift(
      ...foreign.map(({ name, hash, disabled }): KeyEntry => {
        const phase = disabled ? 'disabled' : 'current';
        return { name, hash, digest: null, phase, created: now, disabled: disabled ? now : null };
      }),
    );
    const there = new Set(listed.map(({ hash }) => hash));
    for (const entry of this.keys) if (entry.hash && !there.has(entry.hash)) entry.phase = 'gone';
    this.#save();
  }

  update(entry: KeyEntry, changes: Partial<KeyEntry>): void {
    Object.assign(entry, changes);
    this.#save();
  }

  #save(): void {
    const file = fileOf(this.instance);
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    const document = journalSchema.parse({ version: 1, instance: this.instance, keys: this.keys });
    writeWhole(file, `${JSON.stringify(document, null, 2)}\n`, 'always');
  }
}

function fileOf(instance: string): string {
  return join(keysDir(), `${checkId(instance)}.json`);
}

function unreadable(file: string, why: string) {
  return inputError('keys', `${file} can't be read: ${why}`, 'nothing was changed; put back the file, or move it away');
}
