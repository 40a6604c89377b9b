import { type Entry, entrySchema } from '../../../../src/contract/edge.ts';
import type { Registry } from '../core/runtime.ts';

/** Of the name under which the one object keeps all. */
const ONE = 'registry';
/** Seconds; the least that KV takes (https://developers.cloudflare.com/kv/api/read-key-value-pairs/). */
const CACHE_S = 60;

/** All instances in one place: a change counts with the next request. */
export function objectRegistry(namespace: DurableObjectNamespace): Registry {
  const object = namespace.get(namespace.idFromName(ONE));
  const url = (slug: string) => `https://registry.invalid/${slug}`;
  return {
    get: async (slug) => {
      const answer = await object.fetch(url(slug));
      return answer.status === 200 ? entrySchema.parse(await answer.json()) : undefined;
    },
    put: async (entry) =>
      (await object.fetch(url(entry.slug), { method: 'PUT', body: JSON.stringify(entry) })).status === 200,
  };
}

/** The Durable Object: one thread, so that of two revisions the newer one stays. */
export class RegistryObject {
  readonly #state: DurableObjectState;

  constructor(state: DurableObjectState) {
    this.#state = state;
  }

  async fetch(request: Request): Promise<Response> {
    const key = new URL(request.url).pathname.slice(1);
    if (request.method !== 'PUT') {
      const entry = await this.#state.storage.get(key);
      return entry ? Response.json(entry) : new Response(null, { status: 404 });
    }
    const entry = (await request.json()) as Entry;
    const kept = await this.#state.storage.transaction(async (storage) => {
      const now = (await storage.get(key)) as Entry | undefined;
      if (now && now.revision > entry.revision) return false;
      await storage.put(key, entry);
      return true;
    });
    return new Response(null, { status: kept ? 200 : 409 });
  }
}

/** Cheaper, and slower: a change needs a minute or more until it counts everywhere, and of two at once either may stay. */
export function kvRegistry(namespace: KvNamespace): Registry {
  const get = async (slug: string) => {
    const text = await namespace.get(slug, { type: 'text', cacheTtl: CACHE_S });
    return text === null ? undefined : entrySchema.parse(JSON.parse(text));
  };
  return {
    get,
    put: async (entry) => {
      const now = await get(entry.slug);
      if (now && now.revision > entry.revision) return false;
      await namespace.put(entry.slug, JSON.stringify(entry));
      return true;
    },
  };
}
