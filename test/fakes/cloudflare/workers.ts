import { type Body, type FakeZone, judged, kept, newId, Refusal, type Row, removed } from './state.ts';

type Binding = Record<string, string> & { type: string; name: string };

interface Metadata {
  main_module: string;
  compatibility_date: string;
  tags: string[];
  annotations: Record<string, string>;
  bindings: Binding[];
  exports: Record<string, { type: string; storage: string }>;
  observability: { enabled: boolean; logs?: { enabled: boolean; invocation_logs: boolean } };
  logpush: boolean;
  tail_consumers: { service: string }[];
}

export interface FakeScript {
  /** As it was uploaded; secrets aren't told again. */
  metadata: Metadata;
  module: string;
  addresses: { enabled: boolean; previews_enabled: boolean };
}

/** Of an account. */
export interface FakeWorkers {
  scripts: Map<string, FakeScript>;
  /** Durable Objects' namespaces, by `<script>/<class>`. */
  objects: Map<string, string>;
  /** KV's. */
  namespaces: Map<string, Row>;
}

/** Bytes: https://developers.cloudflare.com/workers/platform/limits/#environment-variables */
const VARIABLE = 5 * 1024;
/** https://developers.cloudflare.com/workers/platform/limits/#routes-and-domains */
const ROUTES = 1000;

/** `/accounts/…/workers/scripts` and below. @param form the body, where it is one. */
export async function workers(
  account: FakeWorkers,
  account_id: string,
  method: string,
  [name, what]: string[],
  body: Body,
  form: FormData | undefined,
): Promise<unknown> {
  const { scripts, objects } = account;
  if (!name) return [...scripts].map(([id, { metadata }]) => ({ id, tags: metadata.tags, has_modules: true }));
  if (method === 'PUT' && !what) return upload(account, name, form);
  const script = scripts.get(name);
  if (!script) throw new Refusal(404, 10_007, 'This Worker does not exist on your account.');
  if (what === 'settings') {
    const bindings = script.metadata.bindings.map(({ type, ...rest }) =>
      type === 'secret_text' ? { type, name: rest.name } : { type, ...rest, ...namespaceOf(account, name, type, rest) },
    );
    return { ...script.metadata, bindings, usage_model: 'standard' };
  }
  if (what === 'content') {
    const whole = new FormData();
    const file = new File([script.module], script.metadata.main_module, { type: 'application/javascript+module' });
    whole.set(script.metadata.main_module, file);
    return new Response(whole, { headers: { 'cf-entrypoint': script.metadata.main_module } });
  }
  if (what === 'subdomain') {
    if (method === 'POST') {
      judged('subdomain', { account_id, ...body });
      script.addresses = { ...script.addresses, ...(body as object) };
    }
    return script.addresses;
  }
  if (method !== 'DELETE') throw new Refusal(405, 10_405, 'Method not allowed');
  const [own, force] = [[...objects.keys()].filter((key) => key.startsWith(`${name}/`)), body.force === 'true'];
  if (own.length && !force) throw new Refusal(400, 10_064, 'cannot delete a Worker that has Durable Objects');
  for (const key of own) objects.delete(key);
  scripts.delete(name);
  return null;
}

const namespaceOf = ({ objects }: FakeWorkers, name: string, type: string, { class_name }: Record<string, string>) =>
  type === 'durable_object_namespace' ? { namespace_id: objects.get(`${name}/${class_name}`) } : {};

async function upload(account: FakeWorkers, name: string, form: FormData | undefined) {
  const { scripts, objects, namespaces } = account;
  const text = form?.get('metadata');
  if (typeof text !== 'string') throw new Refusal(400, 10_021, 'could not read content for part metadata');
  const metadata = JSON.parse(text) as Metadata;
  judged('script', metadata);
  const part = form?.get(metadata.main_module);
  if (!(part instanceof File) || part.type !== 'application/javascript+module')
    throw new Refusal(400, 10_021, `No such module "${metadata.main_module}".`);
  const module = await part.text();
  const exported = /export *\{([^}]*)\}/.exec(module)?.[1] ?? '';
  for (const [kind, { storage }] of Object.entries(metadata.exports ?? {})) {
    if (!new RegExp(`\\b${kind}\\b`).test(exported)) throw new Refusal(400, 10_070, `class ${kind} is not exported`);
    // https://developers.cloudflare.com/durable-objects/platform/pricing/: and on the free plan it is the only one in any case.
    if (storage !== 'sqlite') throw new Refusal(400, 10_097, 'new namespaces must be of SQLite');
  }
  const live = (kind: string) => kind in (metadata.exports ?? {}) || objects.has(`${name}/${kind}`);
  for (const { type, name: as, text, class_name = '', namespace_id = '' } of metadata.bindings) {
    if (type === 'durable_object_namespace' && !live(class_name))
      throw new Refusal(400, 10_061, `Cannot create binding for class '${class_name}'`);
    if (type === 'kv_namespace' && !namespaces.has(namespace_id))
      throw new Refusal(400, 10_041, `KV namespace '${namespace_id}' not found`);
    if (Buffer.byteLength(text ?? '') > VARIABLE) throw new Refusal(400, 10_054, `${as} is too long`);
  }
  for (const kind of Object.keys(metadata.exports ?? {}))
    if (!objects.has(`${name}/${kind}`)) objects.set(`${name}/${kind}`, newId());
  // What a new one's addresses are isn't written down; the worst, so that they have to be closed.
  const addresses = scripts.get(name)?.addresses ?? { enabled: true, previews_enabled: true };
  scripts.set(name, { metadata, module, addresses });
  return { id: name, startup_time_ms: 10 };
}

/** `/zones/…/workers/routes`. */
export function routes(
  { id: zone_id, routes }: FakeZone,
  { scripts }: FakeWorkers,
  method: string,
  id: string | undefined,
  body: Body,
) {
  if (method === 'GET') return [...routes.values()];
  if (method === 'DELETE') return removed(routes, id);
  judged('route', { zone_id, ...body });
  const others = [...routes.values()].filter((route) => route.id !== id);
  if (others.some(({ pattern }) => pattern === body.pattern))
    throw new Refusal(409, 10_020, 'A route with the same pattern already exists.');
  if (others.length >= ROUTES) throw new Refusal(400, 10_021, 'too many routes');
  if (body.script && !scripts.has(body.script as string)) throw new Refusal(404, 10_019, 'script not found');
  return kept(routes, method, id, body);
}

/** `/accounts/…/storage/kv/namespaces`. */
export function kv(
  { namespaces }: FakeWorkers,
  account_id: string,
  method: string,
  id: string | undefined,
  body: Body,
) {
  if (method === 'GET') return [...namespaces.values()];
  if (method === 'DELETE') return removed(namespaces, id);
  judged('namespace', { account_id, ...body });
  if ([...namespaces.values()].some(({ title }) => title === body.title))
    throw new Refusal(400, 10_014, 'a namespace with this account ID and title already exists');
  return kept(namespaces, method, id, body);
}
