import { execFileSync } from 'node:child_process';
import { createPrivateKey, randomBytes, randomUUID, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { misfit } from './judge.ts';
import { type FakeLists, lists, Refusal } from './lists.ts';
import { type PhaseBody, refusal, type StoredRule, stored } from './rules.ts';

/**
 * A zone at Cloudflare, as a server with state. What requests may hold is judged by schemas that are made of the official SDK's types
 * (judge.ts), what plans have by Cloudflare's pages (rules.ts), what a certificate has to be by its own text. Not built from the
 * service itself: codes and words of refusals are like its own, and no more.
 */
export interface FakeCloudflare {
  env: Record<string, string>;
  plan: string;
  settings: Map<string, { value: unknown; editable: boolean }>;
  records: Map<string, Row>;
  certificates: Map<string, Row & { polls: number }>;
  pulls: boolean;
  phases: Map<string, StoredRule[]>;
  fight: boolean;
  apps: Map<string, Row>;
  policies: Map<string, Row>;
  lists: FakeLists;
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

type Row = Record<string, unknown> & { id: string };
type Body = Record<string, unknown>;

/** Small, so that lists have pages. */
const PAGE = 2;
const ZONE = {
  id: randomBytes(16).toString('hex'),
  name: 'example.com',
  account: { id: randomBytes(16).toString('hex'), name: 'a' },
};
const newId = () => randomUUID().replaceAll('-', '');
const judged = (kind: string, value: unknown) => {
  const why = misfit(kind, value);
  if (why) throw new Refusal(400, 10_001, why);
};

export async function startFakeCloudflare(plan = 'free'): Promise<FakeCloudflare> {
  const token = randomBytes(20).toString('base64url');
  const fake: FakeCloudflare = {
    ...{
      env: {},
      plan,
      records: new Map(),
      certificates: new Map(),
      pulls: false,
      phases: new Map(),
      fight: false,
      apps: new Map(),
      policies: new Map(),
      origins: [],
      lists: new Map(),
    },
    ...{ changes: [], forbidden: new Set(), lose: undefined },
    // As a new zone has them.
    settings: new Map(
      Object.entries({
        ...{
          ssl: 'full',
          min_tls_version: '1.0',
          tls_1_3: 'on',
          '0rtt': 'off',
          always_use_https: 'off',
          websockets: 'on',
        },
        security_header: {
          strict_transport_security: {
            enabled: false,
            max_age: 0,
            include_subdomains: false,
            preload: false,
            nosniff: false,
          },
        },
      }).map(([id, value]) => [id, { value, editable: true }]),
    ),
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
    const text = Buffer.concat(await request.toArray()).toString();
    const send = (status: number, body: object) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    try {
      if (request.headers.authorization !== `Bearer ${token}`) throw new Refusal(401, 10_000, 'Authentication error');
      const below = pathname.replace(/^\/(zones|accounts)\/[0-9a-f]+\//, '');
      if ([...fake.forbidden].some((path) => below.startsWith(path)))
        throw new Refusal(403, 10_000, 'Authentication error');
      const result = answer(method, pathname, searchParams, text ? JSON.parse(text) : {});
      if (method !== 'GET' && searchParams.get('dry_run') !== 'true') {
        fake.changes.push(`${method} ${below}`);
        if (fake.lose?.(`${method} ${below}`)) return void response.destroy();
      }
      if (!Array.isArray(result)) return void send(200, { success: true, errors: [], messages: [], result });
      const page = Number(searchParams.get('page') ?? 1);
      const part = result.slice((page - 1) * PAGE, page * PAGE);
      const info = {
        page,
        per_page: PAGE,
        count: part.length,
        total_count: result.length,
        total_pages: Math.ceil(result.length / PAGE),
      };
      // Lists without pages send everything.
      const paged = !/origin_tls_client_auth/.test(pathname);
      send(200, {
        success: true,
        errors: [],
        messages: [],
        result: paged ? part : result,
        ...(paged ? { result_info: info } : {}),
      });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const { status, code, message } = error;
      send(status, { success: false, errors: [{ code, message }], messages: [], result: null });
    }
  }

  function answer(method: string, path: string, query: URLSearchParams, body: Body): unknown {
    if (method === 'GET' && path === '/zones')
      return query.get('name') === ZONE.name ? [{ ...ZONE, status: 'active', plan: { legacy_id: fake.plan } }] : [];
    if (path === '/certificates') return originCertificate(method, body);
    const inZone = path.startsWith(`/zones/${ZONE.id}/`) && path.slice(`/zones/${ZONE.id}/`.length);
    const inAccount =
      path.startsWith(`/accounts/${ZONE.account.id}/`) && path.slice(`/accounts/${ZONE.account.id}/`.length);
    const [kind, id, ...more] = (inZone || inAccount || '').split('/');
    const zone_id = ZONE.id;
    if (inZone && kind === 'settings') return setting(method, id as string, body);
    if (inZone && kind === 'dns_records') return record(method, id, body);
    if (inZone && kind === 'origin_tls_client_auth') {
      if (id !== 'settings') return clientCertificate(method, id, body);
      if (method === 'PUT') {
        judged('clientAuth', { zone_id, ...body });
        fake.pulls = body.enabled as boolean;
      }
      return { enabled: fake.pulls };
    }
    if (inZone && kind === 'rulesets' && id === 'phases')
      return phase(method, more[0] as string, query, body as PhaseBody);
    if (inZone && kind === 'bot_management') {
      if (method === 'PUT') {
        judged('bots', { zone_id, ...body });
        fake.fight = (body.fight_mode as boolean | undefined) ?? fake.fight;
      }
      return { fight_mode: fake.fight, enable_js: false, using_latest_model: true };
    }
    if (inAccount && kind === 'rules' && id === 'lists') return lists(fake, ZONE.account.id, method, more, body);
    if (inAccount && kind === 'access' && id === 'apps') return application(method, more[0], body);
    if (inAccount && kind === 'access' && id === 'policies') return policy(method, more[0], body);
    throw new Refusal(404, 7003, `Could not route to ${path}`);
  }

  function setting(method: string, id: string, body: Body) {
    const now = fake.settings.get(id);
    if (!now) throw new Refusal(400, 1006, 'Unrecognized zone setting name');
    if (method === 'PATCH') {
      if (!now.editable) throw new Refusal(403, 1015, `Not allowed to edit setting for ${id}`);
      if (id === 'always_use_https' ? !['on', 'off'].includes(body.value as string) : misfit(id, body.value))
        throw new Refusal(400, 1007, `Invalid value for zone setting ${id}`);
      now.value = body.value;
    }
    return { id, ...now, modified_on: null };
  }

  function record(method: string, id: string | undefined, body: Body) {
    const others = [...fake.records.values()].filter((one) => one.id !== id);
    if (method === 'GET') return [...fake.records.values()];
    if (method === 'DELETE') return removed(fake.records, id);
    judged('dnsRecord', { zone_id: ZONE.id, ...body });
    const alike = others.filter(({ name }) => name === body.name);
    if (alike.some(({ type, content }) => type === body.type && content === body.content))
      throw new Refusal(400, 81_058, 'An identical record already exists.');
    if (alike.some(({ type }) => (type === 'CNAME') !== (body.type === 'CNAME')))
      throw new Refusal(400, 81_053, 'An A, AAAA, or CNAME record with that host already exists.');
    return kept(fake.records, method, id, { ttl: 1, proxied: false, comment: null, tags: [], meta: {}, ...body });
  }

  function clientCertificate(method: string, id: string | undefined, body: Body) {
    if (method === 'GET')
      return [...fake.certificates.values()].map((one) => {
        // It takes a while to reach all of Cloudflare.
        if (one.status === 'pending_deployment' && ++one.polls > 1) one.status = 'active';
        const { polls, ...told } = one;
        return told;
      });
    if (method === 'DELETE') return removed(fake.certificates, id);
    judged('clientCertificate', { zone_id: ZONE.id, ...body });
    const certificate = new X509Certificate(body.certificate as string);
    if (!certificate.checkPrivateKey(createPrivateKey(body.private_key as string)))
      throw new Refusal(400, 1427, 'The private key does not match the certificate.');
    if (certificate.ca) throw new Refusal(400, 1420, 'The certificate must be a leaf certificate.');
    const made = { id: newId(), certificate: body.certificate, status: 'pending_deployment', polls: 0 };
    fake.certificates.set(made.id, made);
    return made;
  }

  function originCertificate(method: string, body: Body) {
    if (method === 'GET') return fake.origins;
    judged('originCertificate', body);
    const days = body.requested_validity as number;
    if (![7, 30, 90, 365, 730, 1095, 5475].includes(days)) throw new Refusal(400, 1005, 'invalid validity');
    const certificate = sign(body.csr as string, body.hostnames as string[], days);
    const made = {
      id: newId(),
      ...body,
      certificate,
      expires_on: new Date(Date.now() + days * 86_400_000).toISOString(),
    };
    fake.origins.push(made);
    return made;
  }

  function phase(method: string, name: string, query: URLSearchParams, body: PhaseBody) {
    const now = fake.phases.get(name);
    if (method === 'GET' && !now)
      throw new Refusal(404, 10_003, 'could not find entrypoint ruleset in the given phase');
    let rules = now ?? [];
    if (method === 'PUT') {
      const why = refusal(fake.plan, name, ZONE.id, body);
      if (why) throw new Refusal(400, 20_000, why);
      rules = stored(rules, body);
      if (query.get('dry_run') !== 'true') fake.phases.set(name, rules);
    }
    return {
      id: name,
      kind: 'zone',
      name: 'default',
      phase: name,
      version: '1',
      last_updated: new Date().toISOString(),
      rules,
    };
  }

  function application(method: string, id: string | undefined, body: Body) {
    if (method === 'GET') return [...fake.apps.values()];
    if (method === 'DELETE') return removed(fake.apps, id);
    judged('application', { account_id: ZONE.account.id, ...body });
    const known = (body.policies as { id: string }[] | undefined)?.map((link) => fake.policies.get(link.id));
    if (known?.includes(undefined))
      throw new Refusal(400, 12_130, 'access.api.error.invalid_request: policy not found');
    return kept(fake.apps, method, id, { aud: newId() + newId(), ...body });
  }

  function policy(method: string, id: string | undefined, body: Body) {
    if (method === 'GET') return [...fake.policies.values()];
    if (method === 'DELETE') {
      const used = [...fake.apps.values()].some((app) =>
        (app.policies as { id: string }[] | undefined)?.some((one) => one.id === id),
      );
      if (used) throw new Refusal(409, 12_132, 'access.api.error.conflict: policy is in use');
      return removed(fake.policies, id);
    }
    judged('policy', { account_id: ZONE.account.id, ...body });
    return kept(fake.policies, method, id, { exclude: [], require: [], ...body });
  }

  function kept(rows: Map<string, Row>, method: string, id: string | undefined, body: Body) {
    if (method !== 'POST' && !rows.has(id as string)) throw new Refusal(404, 10_404, 'not found');
    const row = { ...body, id: method === 'POST' ? newId() : (id as string) };
    rows.set(row.id, row);
    return row;
  }

  function removed(rows: Map<string, Row>, id: string | undefined) {
    if (!rows.delete(id as string)) throw new Refusal(404, 10_404, 'not found');
    return { id };
  }

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  fake.env = {
    CLOUDFLARE_API_TOKEN: token,
    CLOUDFLARE_API_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
  };
  return fake;
}

/** A certificate as by Cloudflare's CA for origins: for the names that were asked for, whatever the request says. */
function sign(csr: string, hosts: string[], days: number): string {
  const names = hosts.map((host) => `DNS:${host}`).join(',');
  const script = `d=$(mktemp -d); trap 'rm -rf "$d"' EXIT; cd "$d"; cat >csr
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=origins -keyout ca.key -out ca.crt
    printf 'subjectAltName=${names}\n' >ext
    openssl x509 -req -in csr -CA ca.crt -CAkey ca.key -days ${days} -extfile ext`;
  return execFileSync('sh', ['-c', script], { input: csr, stdio: ['pipe', 'pipe', 'ignore'] }).toString();
}
