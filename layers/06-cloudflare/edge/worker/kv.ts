/** Entries and spent IDs in Workers KV: what is written shows everywhere after 60 seconds or more. */
import type { Entry } from '../../../../src/contract/edge.ts';
import { checkNewer, ENTRIES, readKept } from '../core/kinds.ts';
import type { Spent, Store } from '../core/runtime.ts';
import type { KvNamespace } from './bindings.ts';

/** Seconds; the least that KV takes for either (https://developers.cloudflare.com/kv/api/). */
const LEAST_TTL = 60;

/** Instances' entries. Enrolments aren't kept here: that a launch is over would show a minute later, and its bundle come in twice. */
export class KvRegistry implements Store<Entry> {
  readonly #kv: KvNamespace;
  constructor(kv: KvNamespace) {
    this.#kv = kv;
  }

  async get(slug: string): Promise<Entry | undefined> {
    const text = await this.#kv.get(ENTRIES.prefix + slug, { type: 'text', cacheTtl: LEAST_TTL });
    return text === null ? undefined : readKept(ENTRIES, slug, text);
  }

  /** Compares before it writes; two operators at the same moment aren't told apart. */
  async put(entry: Entry): Promise<void> {
    checkNewer(await this.get(entry.slug), entry);
    await this.#kv.put(ENTRIES.prefix + entry.slug, JSON.stringify(entry));
  }
}

/** Best effort: two edges may each take a ticket within a minute. The browser's binding still holds. */
export class KvSpent implements Spent {
  readonly #kv: KvNamespace;
  readonly #now: () => number;
  constructor(kv: KvNamespace, now: () => number) {
    this.#kv = kv;
    this.#now = now;
  }

  async spend(id: string, expires: number): Promise<boolean> {
    if (await this.isSpent(id)) return false;
    const expirationTtl = Math.max(LEAST_TTL, Math.ceil(expires - this.#now()));
    await this.#kv.put(`spent:${id}`, '1', { expirationTtl });
    return true;
  }

  async isSpent(id: string): Promise<boolean> {
    return (await this.#kv.get(`spent:${id}`, { type: 'text' })) !== null;
  }
}
