import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { sealCode } from '../../layers/06-cloudflare/edge/core/envelope.ts';
import { serve } from '../../layers/06-cloudflare/edge/node/serve.ts';
import { bundleWorker, COMPATIBILITY_DATE } from '../../layers/06-cloudflare/edge/worker/bundle.ts';
import { type EdgeConfig, type EdgeSecrets, type Entry, edgeConfigSchema } from '../../src/contract/edge.ts';
import { start } from '../../src/process/run.ts';
import { type FakeGate, startGate } from '../fakes/gate.ts';
import { type FakeIssuer, startIssuer } from '../fakes/issuer.ts';

/** An auth proxy in one of its two places, in front of a gate, with somebody who says who people are. */
export interface Scene {
  gate: FakeGate;
  issuer: FakeIssuer;
  /** `alice.ui.test:PORT` and the like. */
  host: (name: string, domain?: 'ui.test' | 'apps.test') => string;
  ask: (host: string, path: string, options?: Asked) => Promise<Answer>;
  open: (host: string, path: string, headers: Record<string, string>, protocols?: string[]) => WebSocket;
  /** Writes the registry as the operator does. */
  put: (change?: Partial<Entry>, token?: string) => Promise<Answer>;
  log: () => string;
  admin: string;
}

export interface Asked {
  method?: string;
  headers?: Record<string, string | string[]>;
  body?: Buffer | string;
}

export interface Answer {
  status: number;
  headers: IncomingMessage['headers'];
  text: string;
  /** Milliseconds after which each part came. */
  parts: number[];
}

export type Place = 'worker' | 'node';
const KID = 'k1';
/** Milliseconds. */
const ANSWER_MS = 15_000;
const random = (bytes = 32) => randomBytes(bytes).toString('base64url');
const sha256 = (text: string) => createHash('sha256').update(text).digest('base64url');

export async function withScene(
  place: Place,
  kind: 'access' | 'oidc',
  body: (scene: Scene) => Promise<void>,
): Promise<void> {
  const work = mkdtempSync(join(tmpdir(), 'clawdy-edge-'));
  const closing: (() => Promise<unknown>)[] = [];
  try {
    makeCertificates(work);
    const read = (name: string) => readFileSync(join(work, name), 'utf8');
    const issuer = await startIssuer();
    closing.push(issuer.close);
    const code = random();
    const gate = await startGate(code, { key: read('gate.key'), cert: read('gate.crt'), ca: read('ca.crt') });
    closing.push(gate.close);
    const port = await freePort();
    const config = edgeConfigSchema.parse({
      ...{ version: 1, uiDomain: 'ui.test', appsDomain: 'apps.test', port },
      session:
        kind === 'access'
          ? { kind, issuer: issuer.url, audiences: [issuer.audience] }
          : { kind, issuer: issuer.url, clientId: 'client', seconds: 60, insecure: true },
    });
    const admin = random();
    const secrets: EdgeSecrets = { session: random(), codes: { [KID]: random() }, admin: sha256(admin) };
    const lines: string[] = [];
    const started = place === 'node' ? startNode : startWorker;
    closing.push(await started(work, config, secrets, (line) => lines.push(line)));

    const host = (name: string, domain = 'ui.test') => `${name}.${domain}:${port}`;
    const ca = read('site.crt');
    const ask: Scene['ask'] = async (to, path, { method = 'GET', headers = {}, body = '' } = {}) => {
      const began = Date.now();
      const asking = request({
        host: '127.0.0.1',
        port,
        method,
        path,
        ca,
        servername: 'ui.test',
        agent: false,
        headers: { host: to, ...headers },
        signal: AbortSignal.timeout(ANSWER_MS),
      });
      asking.end(body);
      const [incoming] = (await once(asking, 'response')) as [IncomingMessage];
      const parts: number[] = [];
      const chunks: Buffer[] = [];
      for await (const chunk of incoming) {
        parts.push(Date.now() - began);
        chunks.push(chunk);
      }
      return {
        status: incoming.statusCode as number,
        headers: incoming.headers,
        text: Buffer.concat(chunks).toString(),
        parts,
      };
    };
    let revision = 0;
    const entry: Entry = {
      ...{ version: 1, slug: 'alice', revision: 1, origin: `localhost:${gate.port}`, certificate: read('gate.crt') },
      sealed: await sealCode('alice', code, KID, secrets.codes),
      ...{ owner: 'owner@example.com', shares: ['friend@example.com'], revoked: false },
      apps: [{ port: 3000, shares: ['guest@example.com'] }],
    };
    const put: Scene['put'] = (change = {}, token = admin) =>
      ask(host('auth'), '/.clawdy/registry/alice', {
        ...{ method: 'PUT', headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' } },
        body: JSON.stringify({ ...entry, revision: ++revision, ...change }),
      });
    await until(async () => (await put()).status === 200).catch((error) => {
      throw new Error(`the proxy never took its registry: ${lines.join('\n')}`, { cause: error });
    });
    const open: Scene['open'] = (to, path, headers, protocols = []) => {
      // `ws` hands all of this to https.request; its types know the most of it.
      const options = { ca, servername: 'ui.test', headers: { host: to, ...headers } };
      return new WebSocket(`wss://127.0.0.1:${port}${path}`, protocols, options);
    };
    await body({ gate, issuer, host, ask, open, put, log: () => lines.join('\n'), admin });
    // Whatever happened: no secret is in the log.
    for (const secret of [code, secrets.session, secrets.codes[KID] as string, admin])
      if (lines.join('\n').includes(secret)) throw new Error('a secret is in the log');
  } finally {
    for (const close of closing.reverse()) await close();
    rmSync(work, { recursive: true, force: true });
  }
}

type Started = (
  work: string,
  config: EdgeConfig,
  secrets: EdgeSecrets,
  log: (line: string) => void,
) => Promise<() => Promise<unknown>>;

const startNode: Started = async (work, config, secrets, log) => {
  const pair = (name: string) => ({
    certificate: readFileSync(join(work, `${name}.crt`), 'utf8'),
    key: readFileSync(join(work, `${name}.key`), 'utf8'),
  });
  const options = {
    config,
    secrets,
    tls: pair('site'),
    client: pair('client'),
    registry: join(work, 'registry'),
    address: '127.0.0.1',
    log,
  };
  return (await serve({ ...options, port: config.port })).close;
};

/** The very bundle that Cloudflare would get, in Cloudflare's own runtime. */
const startWorker: Started = async (work, config, secrets, log) => {
  writeFileSync(join(work, 'worker.js'), await bundleWorker());
  writeFileSync(join(work, 'config.json'), JSON.stringify(config));
  writeFileSync(join(work, 'secrets.json'), JSON.stringify(secrets));
  writeFileSync(
    join(work, 'workerd.capnp'),
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .main),
    (name = "network", network = (allow = ["public", "private", "local"], tlsOptions = (
      trustBrowserCas = false, trustedCertificates = [embed "gate.crt"],
      keypair = (privateKey = embed "client.key", certificateChain = embed "client.crt")))),
    (name = "disk", disk = (path = "${work}", writable = true)),
  ],
  sockets = [(name = "https", address = "127.0.0.1:${config.port}", service = "main", https = (
    tlsOptions = (keypair = (privateKey = embed "site.key", certificateChain = embed "site.crt"))))],
);
const main :Workerd.Worker = (
  modules = [(name = "worker", esModule = embed "worker.js")],
  compatibilityDate = "${COMPATIBILITY_DATE}",
  bindings = [
    (name = "CLAWDY_CONFIG", text = embed "config.json"),
    (name = "CLAWDY_SECRETS", text = embed "secrets.json"),
    (name = "REGISTRY", durableObjectNamespace = "RegistryObject"),
  ],
  durableObjectNamespaces = [(className = "RegistryObject", uniqueKey = "registry")],
  durableObjectStorage = (localDisk = "disk"),
  globalOutbound = "network",
);
`,
  );
  const workerd = join(import.meta.dirname, '../../node_modules/@cloudflare/workerd-linux-64/bin/workerd');
  const child = start(workerd, ['serve', join(work, 'workerd.capnp')], { all: true, buffer: false });
  child.all?.on('data', (chunk) => log(String(chunk)));
  return async () => {
    child.kill('SIGTERM');
    await child;
  };
};

/** A site's certificate for both domains, and a CA whose certificate for clients the gate asks for. */
function makeCertificates(work: string): void {
  const openssl = (...words: string[]) => execFileSync('openssl', words, { cwd: work, stdio: 'ignore' });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const self = (name: string, names: string) =>
    openssl(
      'req',
      '-x509',
      ...key,
      '-days',
      '2',
      '-subj',
      `/CN=${name}`,
      '-addext',
      `subjectAltName=${names}`,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.crt`,
    );
  self('site', 'DNS:ui.test,DNS:*.ui.test,DNS:*.apps.test');
  self('gate', 'DNS:localhost');
  self('ca', 'DNS:ca.invalid');
  // Version 3, as Cloudflare's runtime wants it.
  writeFileSync(join(work, 'client.ext'), 'basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n');
  openssl('req', ...key, '-subj', '/CN=proxy', '-keyout', 'client.key', '-out', 'client.csr');
  openssl(
    'x509',
    '-req',
    '-in',
    'client.csr',
    '-CA',
    'ca.crt',
    '-CAkey',
    'ca.key',
    '-CAcreateserial',
    '-days',
    '2',
    '-extfile',
    'client.ext',
    '-out',
    'client.crt',
  );
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

export async function until(done: () => Promise<boolean>, limitMs = 20_000): Promise<void> {
  const end = Date.now() + limitMs;
  while (!(await done().catch(() => false))) {
    if (Date.now() > end) throw new Error('it never came');
    await sleep(100);
  }
}
