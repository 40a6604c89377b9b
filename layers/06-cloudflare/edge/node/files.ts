/** Registry and spent IDs as files: what is written counts from the next request on, and survives a restart. */
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Entry, SLUG_PATTERN } from '../../../../src/contract/edge.ts';
import { checkNewer, readEntry } from '../core/entries.ts';
import type { Registry, Spent } from '../core/runtime.ts';

/** A folder of `<slug>.json`, each replaced by a rename. An operator on the same machine may write there too. */
export class FileRegistry implements Registry {
  readonly #folder: string;
  constructor(folder: string) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.#folder = folder;
  }

  async get(slug: string): Promise<Entry | undefined> {
    const file = this.#file(slug);
    return existsSync(file) ? readEntry(slug, readFileSync(file, 'utf8')) : undefined;
  }

  /** Without a pause between looking and writing, so two of one process never cross. */
  async put(entry: Entry): Promise<void> {
    const file = this.#file(entry.slug);
    checkNewer(existsSync(file) ? readEntry(entry.slug, readFileSync(file, 'utf8')) : undefined, entry);
    const next = `${file}.${randomUUID()}`;
    writeFileSync(next, JSON.stringify(entry), { mode: 0o600, flush: true });
    renameSync(next, file);
  }

  #file(slug: string): string {
    if (!SLUG_PATTERN.test(slug)) throw new Error('not a slug');
    return join(this.#folder, `${slug}.json`);
  }
}

/** Seconds between two looks for what has expired. */
const SWEEP_S = 3600;

/** A folder with a file for each ID; in it, when the ID expires. */
export class FileSpent implements Spent {
  readonly #folder: string;
  readonly #now: () => number;
  #swept = 0;
  constructor(folder: string, now: () => number) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.#folder = folder;
    this.#now = now;
    this.#sweep();
  }

  #sweep(): void {
    if (this.#now() - this.#swept < SWEEP_S) return;
    this.#swept = this.#now();
    for (const name of readdirSync(this.#folder)) {
      const file = join(this.#folder, name);
      if (Number(readFileSync(file, 'utf8')) < this.#now()) rmSync(file, { force: true });
    }
  }

  /** `wx`: of several at once, one creates the file. */
  async spend(id: string, expires: number): Promise<boolean> {
    this.#sweep();
    try {
      writeFileSync(this.#file(id), String(Math.ceil(expires)), { flag: 'wx', mode: 0o600 });
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
      throw error;
    }
  }

  async isSpent(id: string): Promise<boolean> {
    return existsSync(this.#file(id));
  }

  #file(id: string): string {
    if (!/^[\w-]{1,64}$/.test(id)) throw new Error('not an ID');
    return join(this.#folder, id);
  }
}
