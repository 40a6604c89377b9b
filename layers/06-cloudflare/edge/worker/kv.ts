/** What is kept, and spent IDs, in Workers KV: what is written shows everywhere after 60 seconds or more. */
import { checkNewer, type Kind, readKept } from '../core/kinds.ts';
import type { Spent, Store } from '../core/runtime.ts';
import type { KvNamespace } from './bindings.ts';

/** Seconds; the least that KV takes for either (https://developers.cloudflare.com/kv/api/). */
const LEAST_TTL = 60;

const ttlUntil = (expires: number, now: number) => Math.max(LEAST_TTL, Math.ceil(expires - now));

export class KvStore<Kept extends { revision: number }> implements Store<Kept> {
  readonly #kv: KvNamespace;
  readonly #kind: Kind<Kept>;
  readonly #now: () => number;
  constructor(kv: KvNamespace, kind: Kind<Kept>, now: () => number) {
    this.#kv = kv;
    this.#kind = kind;
    this.#now = now;
  }

  async get(name: string): Promise<Kept | undefined> {
    const text = await this.#kv.get(this.#kind.prefix + name, { type: 'text', cacheTtl: LEAST_TTL });
    return text === null ? undefined : readKept(this.#kind, name, text);
  }

  /** Compares before it writes; two at the same moment aren't told apart. */
  async put(kept: Kept): Promise<void> {
    const name = this.#kind.nameOf(kept);
    checkNewer(await this.get(name), kept);
    const expires = this.#kind.expires?.(kept);
    const options = expires ? { expirationTtl: ttlUntil(expires, this.#now()) } : {};
    await this.#kv.put(this.#kind.prefix + name, JSON.stringify(kept), options);
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
    await this.#kv.put(`spent:${id}`, '1', { expirationTtl: ttlUntil(expires, this.#now()) });
    return true;
  }

  async isSpent(id: string): Promise<boolean> {
    return (await this.#kv.get(`spent:${id}`, { type: 'text' })) !== null;
  }
}
