/** What is kept, and IDs that count once, in Durable Objects: one object each, so what it says is so everywhere at once. */
import { z } from 'zod';
import { checkNewer, type Kind, readKept, Stale } from '../core/kinds.ts';
import type { Spent, Store } from '../core/runtime.ts';
import type { DurableNamespace, DurableState } from './bindings.ts';

/** Objects have no host; a URL must. */
const URL = 'https://object.invalid/';

/** What an object has to know of what it keeps; its form is the core's to judge, before and after. */
const keptSchema = z.looseObject({ revision: z.number() });
/** Seconds since 1970. */
const EXPIRES = 'clawdy-expires';

/** One thing of one kind: an instance's entry, a launch's enrolment. */
export class RegistryObject {
  readonly #state: DurableState;
  constructor(state: DurableState) {
    this.#state = state;
  }

  async fetch(request: Request): Promise<Response> {
    const { storage } = this.#state;
    if (request.method !== 'PUT') return new Response((await storage.get<string>('entry')) ?? null);
    const text = await request.text();
    const expires = request.headers.get(EXPIRES);
    return this.#state.blockConcurrencyWhile(async () => {
      const kept = await storage.get<string>('entry');
      try {
        checkNewer(kept ? keptSchema.parse(JSON.parse(kept)) : undefined, keptSchema.parse(JSON.parse(text)));
      } catch (error) {
        if (error instanceof Stale) return new Response(error.message, { status: 409 });
        throw error;
      }
      await storage.put('entry', text);
      if (expires) await storage.setAlarm(Number(expires) * 1000);
      return new Response(null, { status: 201 });
    });
  }

  /** Nobody waits for it any more. */
  async alarm(): Promise<void> {
    await this.#state.storage.deleteAll();
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

export class DurableStore<Kept extends { revision: number }> implements Store<Kept> {
  readonly #objects: DurableNamespace;
  readonly #kind: Kind<Kept>;
  constructor(objects: DurableNamespace, kind: Kind<Kept>) {
    this.#objects = objects;
    this.#kind = kind;
  }

  async get(name: string): Promise<Kept | undefined> {
    const text = await (await this.#objectOf(name).fetch(URL)).text();
    return text ? readKept(this.#kind, name, text) : undefined;
  }

  async put(kept: Kept): Promise<void> {
    const expires = this.#kind.expires?.(kept);
    const object = this.#objectOf(this.#kind.nameOf(kept));
    const headers = expires ? { [EXPIRES]: String(expires) } : {};
    const { status } = await object.fetch(URL, { method: 'PUT', body: JSON.stringify(kept), headers });
    if (status === 409) throw new Stale(this.#kind.nameOf(kept));
    if (status !== 201) throw new Error(`the registry's object answered ${status}`);
  }

  #objectOf(name: string) {
    return objectOf(this.#objects, `${this.#kind.prefix}${name}`);
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
