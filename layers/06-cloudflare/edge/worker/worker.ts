/** The auth proxy as a Cloudflare Worker. Bundled by src/edge/bundle.ts. */
import type { Entry } from '../../../../src/contract/edge.ts';
import { edgeConfigSchema, edgeSecretsSchema, type LiveEntry } from '../../../../src/contract/edge.ts';
import { ENROL_RATE } from '../../../../src/contract/edge-enrolment.ts';
import { handle } from '../core/handle.ts';
import { ENROLMENTS, ENTRIES } from '../core/kinds.ts';
import { Rate } from '../core/rate.ts';
import type { Runtime, Spent, Store } from '../core/runtime.ts';
import type { Env, WorkerInit, WorkerResponse } from './bindings.ts';
import { DurableSpent, DurableStore } from './durable.ts';
import { KvRegistry, KvSpent } from './kv.ts';
import { nameOf } from './name.ts';
import { accept, connectedBy } from './sockets.ts';

export { RegistryObject, SpentObject } from './durable.ts';

/** Settings are parsed once an isolate; the bindings belong to a request. */
let parsed: Pick<Runtime, 'config' | 'secrets'> | undefined;

const now = () => Date.now() / 1000;
const enrolRate = new Rate(ENROL_RATE);

export default {
  fetch(request: Request, env: Env): Promise<Response> {
    parsed ??= {
      config: edgeConfigSchema.parse(JSON.parse(env.CONFIG)),
      secrets: edgeSecretsSchema.parse(JSON.parse(env.SECRETS)),
    };
    const visitor = request.headers.get('cf-connecting-ip') ?? '';
    return handle(runtimeOf(env, parsed, visitor), request, visitor, accept);
  },
};

function runtimeOf(env: Env, settings: Pick<Runtime, 'config' | 'secrets'>, visitor: string): Runtime {
  /** No cache of Cloudflare's on the way, and the browser's host name to the instance's address. */
  const ask = async (origin: LiveEntry['origin'], request: Request): Promise<WorkerResponse> => {
    const resolveOverride = nameOf(settings.config, origin, request.url, env.ORIGIN !== undefined);
    // Of which Cloudflare makes the instance's CF-Connecting-IP: https://developers.cloudflare.com/fundamentals/reference/http-headers/.
    const headers = new Headers(request.headers);
    if (visitor) headers.set('x-real-ip', visitor);
    const init = { cache: 'no-store', headers, cf: { resolveOverride } } as WorkerInit;
    return env.ORIGIN ? env.ORIGIN.fetch(request, init) : (fetch(request, init) as Promise<WorkerResponse>);
  };
  return {
    ...settings,
    registry: registryOf(env),
    enrolments: env.REGISTRY ? new DurableStore(env.REGISTRY, ENROLMENTS) : undefined,
    spent: spentOf(env),
    ...{ enrolRate, now },
    fetch: (url, init) => fetch(url, init),
    ask,
    connect: async (origin, request) => {
      const headers = new Headers(request.headers);
      headers.set('upgrade', 'websocket');
      return connectedBy(await ask(origin, new Request(request, { headers })));
    },
    // biome-ignore lint/suspicious/noConsole: a Worker's log
    log: (event, facts) => console.log(JSON.stringify({ event, ...facts })),
  };
}

function registryOf({ REGISTRY, KV }: Env): Store<Entry> {
  if (REGISTRY) return new DurableStore(REGISTRY, ENTRIES);
  if (KV) return new KvRegistry(KV);
  throw new Error('no registry is bound');
}

function spentOf({ SPENT, KV }: Env): Spent {
  if (SPENT) return new DurableSpent(SPENT);
  if (KV) return new KvSpent(KV, now);
  throw new Error('nothing is bound for what counts once');
}
