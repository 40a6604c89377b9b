/** Registry and spent IDs in Durable Objects: one object each, so what it says is so everywhere at once. */
import { type Entry, entrySchema } from '../../../../src/contract/edge.ts';
import { checkNewer, readEntry, StaleEntry } from '../core/entries.ts';
import type { Registry, Spent } from '../core/runtime.ts';
import type { DurableNamespace, DurableState } from './bindings.ts';

/** Objects have no host; a URL must. */
const URL = 'https://object.invalid/';

/** One instance's entry. */
export class RegistryObject {
  readonly #state: DurableState;
  constructor(state: DurableState) {
    this.#state = state;
  }

  async fetch(request: Request): Promise<Response> {
    const { storage } = this.#state;
    if (request.method !== 'PUT') return new Response((await storage.get<string>('entry')) ?? null);
    const next = entrySchema.parse(await request.json());
    return this.#state.blockConcurrencyWhile(async () => {
      const kept = await storage.get<string>('entry');
      try {
        checkNewer(kept ? readEntry(next.slug, kept) : undefined, next);
      } catch (error) {
        if (error instanceof StaleEntry) return new Response(error.message, { status: 409 });
        throw error;
      }
      await storage.put('entry', JSON.stringify(next));
      return new Response(null, { status: 201 });
    });
  }
}

/** One ID that counts once. */
export class SpentObject {
  readonly #state: DurableState;
  constructor(state: DurableState) {
    this.#state = state;
  }

  async fetch(request: Request): Promise<Response> {
    const { storage } = this.#state;
    return this.#state.blockConcurrencyWhile(async () => {
      const spent = (await storage.get<boolean>('spent')) ?? false;
      if (request.method === 'PUT' && !spent) {
        await storage.put('spent', true);
        await storage.setAlarm(Number(await request.text()) * 1000);
      }
      return Response.json(spent);
    });
  }

  /** What it was about has expired by itself. */
  async alarm(): Promise<void> {
    await this.#state.storage.deleteAll();
  }
}

const objectOf = (objects: DurableNamespace, name: string) => objects.get(objects.idFromName(name));

export class DurableRegistry implements Registry {
  readonly #objects: DurableNamespace;
  constructor(objects: DurableNamespace) {
    this.#objects = objects;
  }

  async get(slug: string): Promise<Entry | undefined> {
    const text = await (await objectOf(this.#objects, slug).fetch(URL)).text();
    return text ? readEntry(slug, text) : undefined;
  }

  async put(entry: Entry): Promise<void> {
    const object = objectOf(this.#objects, entry.slug);
    const { status } = await object.fetch(URL, { method: 'PUT', body: JSON.stringify(entry) });
    if (status === 409) throw new StaleEntry(entry.slug);
    if (status !== 201) throw new Error(`the registry's object answered ${status}`);
  }
}

export class DurableSpent implements Spent {
  readonly #objects: DurableNamespace;
  constructor(objects: DurableNamespace) {
    this.#objects = objects;
  }

  async spend(id: string, expires: number): Promise<boolean> {
    const object = objectOf(this.#objects, id);
    return (await (await object.fetch(URL, { method: 'PUT', body: String(expires) })).json()) === false;
  }

  async isSpent(id: string): Promise<boolean> {
    return (await (await objectOf(this.#objects, id).fetch(URL)).json()) === true;
  }
}
