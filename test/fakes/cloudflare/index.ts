import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { application, type FakeAccess, policy } from './access.ts';
import { clientAuth, clientCertificate, originCertificate } from './certificates.ts';
import { type FakeLists, lists } from './lists.ts';
import type { PhaseBody } from './rules.ts';
import { type Body, type FakeZone, newId, newZone, Refusal, type Row } from './state.ts';
import { type FakeWorkers, kv, routes, workers } from './workers.ts';
import { bots, phase, record, setting } from './zone.ts';

/**
 * An account and a zone at Cloudflare, as a server with state. What requests may hold is judged by schemas that are made of the official
 * SDK's types (judge.ts), what plans have by Cloudflare's pages (rules.ts), what a certificate has to be by its own text. Not built from
 * the service itself: codes and words of refusals are like its own, and no more.
 */
export interface FakeCloudflare extends FakeZone, FakeAccess, FakeWorkers {
  env: Record<string, string>;
  lists: FakeLists;
  /** Another of the account's zones: example.net. */
  second: FakeZone;
  /** Of the CA for origins. */
  origins: Row[];
  /** `METHOD path`, each that changed something. */
  changes: string[];
  /** Of the token, by what the path begins with below its zone or account. */
  forbidden: Set<string>;
  /** Told after each change and before its answer; true: the connection ends there. */
  lose: ((change: string) => boolean) | undefined;
  close(): Promise<void>;
}

/** Small, so that lists have pages. */
const PAGE = 2;
const ACCOUNT = newId();

export async function startFakeCloudflare(plan = 'free'): Promise<FakeCloudflare> {
  const token = randomBytes(20).toString('base64url');
  const fake: FakeCloudflare = {
    ...newZone('example.com', plan),
    second: newZone('example.net', plan),
    ...{ scripts: new Map(), objects: new Map(), namespaces: new Map() },
    ...{ env: {}, apps: new Map(), policies: new Map(), lists: new Map(), origins: [] },
    ...{ changes: [], forbidden: new Set(), lose: undefined },
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  const server = createServer((request, response) => {
    handle(request, response).catch((error) => response.destroy(error));
  });

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://fake');
    const method = request.method as string;
    const sent = Buffer.concat(await request.toArray());
    const send = (status: number, body: object) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    try {
      if (request.headers.authorization !== `Bearer ${token}`) throw new Refusal(401, 10_000, 'Authentication error');
      const below = pathname.replace(/^\/(zones|accounts)\/[0-9a-f]+\//, '');
      if ([...fake.forbidden].some((path) => below.startsWith(path)))
        throw new Refusal(403, 10_000, 'Authentication error');
      const type = request.headers['content-type'] ?? '';
      const form = type.startsWith('multipart/')
        ? await new Response(sent, { headers: { 'content-type': type } }).formData()
        : undefined;
      const body = form || !sent.length ? Object.fromEntries(searchParams) : JSON.parse(sent.toString());
      const result = await answer(method, pathname, searchParams, body, form);
      if (method !== 'GET' && searchParams.get('dry_run') !== 'true') {
        fake.changes.push(`${method} ${below}`);
        if (fake.lose?.(`${method} ${below}`)) return void response.destroy();
      }
      if (result instanceof Response)
        return void response
          .writeHead(200, Object.fromEntries(result.headers))
          .end(Buffer.from(await result.arrayBuffer()));
      // Lists without pages send everything.
      const paged = Array.isArray(result) && !/origin_tls_client_auth|workers/.test(pathname);
      const page = /\/lists\/\w+\/items$/.test(pathname) ? cursorOf : pageOf;
      send(200, { success: true, errors: [], messages: [], ...(paged ? page(result, searchParams) : { result }) });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const { status, code, message } = error;
      send(status, { success: false, errors: [{ code, message }], messages: [], result: null });
    }
  }

  function answer(
    method: string,
    path: string,
    query: URLSearchParams,
    body: Body,
    form: FormData | undefined,
  ): unknown {
    if (method === 'GET' && path === '/zones') return zonesNamed(query.get('name'));
    if (path === '/certificates') return originCertificate(fake.origins, method, body);
    const [, scope, owner, kind, id, ...more] = path.split('/');
    const zone = [fake, fake.second].find((one) => scope === 'zones' && one.id === owner);
    if (zone) {
      if (kind === 'settings') return setting(zone, method, id as string, body);
      if (kind === 'dns_records') return record(zone, method, id, body);
      if (kind === 'origin_tls_client_auth')
        return id === 'settings' ? clientAuth(zone, method, body) : clientCertificate(zone, method, id, body);
      if (kind === 'rulesets' && id === 'phases')
        return phase(zone, method, more[0] as string, query, body as PhaseBody);
      if (kind === 'bot_management') return bots(zone, method, body);
      if (kind === 'workers' && id === 'routes') return routes(zone, fake, method, more[0], body);
      if (kind === 'ssl' && id === 'certificate_packs') return zone.packs;
    }
    if (scope === 'accounts' && owner === ACCOUNT) {
      if (kind === 'rules' && id === 'lists') return lists(fake, ACCOUNT, method, more, body);
      if (kind === 'access' && id === 'apps') return application(fake, ACCOUNT, method, more[0], body);
      if (kind === 'workers' && id === 'scripts') return workers(fake, ACCOUNT, method, more, body, form);
      if (kind === 'storage' && more[0] === 'namespaces') return kv(fake, ACCOUNT, method, more[1], body);
      if (kind === 'access' && id === 'policies') return policy(fake, ACCOUNT, method, more[0], body);
    }
    throw new Refusal(404, 7003, `Could not route to ${path}`);
  }

  function zonesNamed(name: string | null) {
    const account = { id: ACCOUNT, name: 'a' };
    return [fake, fake.second]
      .filter((zone) => zone.name === name)
      .map(({ id, plan: legacy_id }) => ({ id, name, account, status: 'active', plan: { legacy_id } }));
  }

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  fake.env = {
    CLOUDFLARE_API_TOKEN: token,
    CLOUDFLARE_API_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
  };
  return fake;
}

/** Items of lists have no pages: an answer says where the next one begins. */
function cursorOf(result: unknown[], query: URLSearchParams) {
  const from = Number(query.get('cursor') ?? 0);
  const after = from + PAGE < result.length ? { cursors: { after: String(from + PAGE) } } : {};
  return { result: result.slice(from, from + PAGE), result_info: after };
}

function pageOf(result: unknown[], query: URLSearchParams) {
  const page = Number(query.get('page') ?? 1);
  const part = result.slice((page - 1) * PAGE, page * PAGE);
  const total = { total_count: result.length, total_pages: Math.ceil(result.length / PAGE) };
  return { result: part, result_info: { page, per_page: PAGE, count: part.length, ...total } };
}
