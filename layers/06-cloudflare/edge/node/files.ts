/** What is kept, and spent IDs, as files: what is written counts from the next request on, and survives a restart. */
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LONGEST_EXPECTATION } from '../../../../src/contract/edge-enrolment.ts';
import { checkNewer, type Kind, readKept } from '../core/kinds.ts';
import type { Spent, Store } from '../core/runtime.ts';

/** What a file may be called: a slug, a launch ID, an ID that counts once. None begins with a dot, none has a slash. */
const NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/;

/** A folder of `<name>.json`, each replaced by a rename. An operator on the same machine may write there too. */
export class FileStore<Kept extends { revision: number }> implements Store<Kept> {
  readonly #folder: string;
  readonly #kind: Kind<Kept>;
  readonly #sweep: () => void;
  constructor(folder: string, kind: Kind<Kept>, now: () => number) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.#folder = folder;
    this.#kind = kind;
    const { expires } = kind;
    this.#sweep = expires
      ? sweeper(folder, now, (file) => expires(kind.schema.parse(JSON.parse(readFileSync(file, 'utf8')))))
      : () => {};
  }

  async get(name: string): Promise<Kept | undefined> {
    this.#sweep();
    return this.#read(name);
  }

  /** Without a pause between looking and writing, so two of one process never cross. */
  async put(kept: Kept): Promise<void> {
    this.#sweep();
    const name = this.#kind.nameOf(kept);
    checkNewer(this.#read(name), kept);
    const file = this.#file(name);
    const next = `${file}.${randomUUID()}`;
    writeFileSync(next, JSON.stringify(kept), { mode: 0o600, flush: true });
    renameSync(next, file);
  }

  #read(name: string): Kept | undefined {
    const file = this.#file(name);
    return existsSync(file) ? readKept(this.#kind, name, readFileSync(file, 'utf8')) : undefined;
  }

  #file(name: string): string {
    if (!NAME.test(name)) throw new Error('not a name');
    return join(this.#folder, `${name}.json`);
  }
}

/** Seconds between two looks for what has expired. */
const SWEEP_S = 3600;

/** @returns what, called often, removes what has expired, once an hour. @param until when a file's content has. */
function sweeper(folder: string, now: () => number, until: (file: string) => number): () => void {
  let swept = 0;
  return () => {
    if (now() - swept < SWEEP_S) return;
    swept = now();
    for (const name of readdirSync(folder)) {
      const file = join(folder, name);
      if (isOver(file, until, now())) rmSync(file, { force: true });
    }
  };
}

/** What can't be read was being written when somebody was killed: it goes when it is as old as anything may get. */
function isOver(file: string, until: (file: string) => number, now: number): boolean {
  try {
    return until(file) < now;
  } catch {
    const left = statSync(file, { throwIfNoEntry: false });
    return left !== undefined && left.mtimeMs / 1000 + LONGEST_EXPECTATION < now;
  }
}

/** A folder with a file for each ID; in it, when the ID expires. */
export class FileSpent implements Spent {
  readonly #folder: string;
  readonly #sweep: () => void;
  constructor(folder: string, now: () => number) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.#folder = folder;
    this.#sweep = sweeper(folder, now, (file) => Number(readFileSync(file, 'utf8')));
    this.#sweep();
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
    if (!NAME.test(id)) throw new Error('not an ID');
    return join(this.#folder, id);
  }
}
