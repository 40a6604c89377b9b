/** The auth proxy as a Cloudflare Worker. Bundled by src/edge/bundle.ts. */
import { edgeConfigSchema, edgeSecretsSchema } from '../../../../src/contract/edge.ts';
import { handle } from '../core/handle.ts';
import type { Registry, Runtime, Spent } from '../core/runtime.ts';
import type { Env, WorkerInit, WorkerResponse } from './bindings.ts';
import { DurableRegistry, DurableSpent } from './durable.ts';
import { KvRegistry, KvSpent } from './kv.ts';
import { accept, connectedBy } from './sockets.ts';

export { RegistryObject, SpentObject } from './durable.ts';

/** Settings are parsed once an isolate; the bindings belong to a request. */
let parsed: Pick<Runtime, 'config' | 'secrets'> | undefined;

const now = () => Date.now() / 1000;

export default {
  fetch(request: Request, env: Env): Promise<Response> {
    parsed ??= {
      config: edgeConfigSchema.parse(JSON.parse(env.CONFIG)),
      secrets: edgeSecretsSchema.parse(JSON.parse(env.SECRETS)),
    };
    return handle(runtimeOf(env, parsed), request, accept);
  },
};

function runtimeOf(env: Env, settings: Pick<Runtime, 'config' | 'secrets'>): Runtime {
  /** No cache of Cloudflare's on the way, and the browser's host name to the instance's address. */
  const ask = (host: string, request: Request): Promise<WorkerResponse> => {
    const init = { cache: 'no-store', cf: { resolveOverride: host } } as WorkerInit;
    return env.ORIGIN ? env.ORIGIN.fetch(request, init) : (fetch(request, init) as Promise<WorkerResponse>);
  };
  return {
    ...settings,
    registry: registryOf(env),
    spent: spentOf(env),
    now,
    fetch: (url, init) => fetch(url, init),
    ask: ({ host }, request) => ask(host, request),
    connect: async ({ host }, request) => {
      const headers = new Headers(request.headers);
      headers.set('upgrade', 'websocket');
      return connectedBy(await ask(host, new Request(request, { headers })));
    },
    // biome-ignore lint/suspicious/noConsole: a Worker's log
    log: (event, facts) => console.log(JSON.stringify({ event, ...facts })),
  };
}

function registryOf({ REGISTRY, KV }: Env): Registry {
  if (REGISTRY) return new DurableRegistry(REGISTRY);
  if (KV) return new KvRegistry(KV);
  throw new Error('no registry is bound');
}

function spentOf({ SPENT, KV }: Env): Spent {
  if (SPENT) return new DurableSpent(SPENT);
  if (KV) return new KvSpent(KV, now);
  throw new Error('nothing is bound for what counts once');
}
