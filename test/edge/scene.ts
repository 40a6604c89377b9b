import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { sealCode } from '../../layers/06-cloudflare/edge/core/envelope.ts';
import { type EdgeSecrets, type Entry, edgeConfigSchema } from '../../src/contract/edge.ts';
import { type FakeGate, startGate } from '../fakes/gate.ts';
import { type FakeIssuer, startIssuer } from '../fakes/issuer.ts';
import { freePort, makeCertificates, type Place, startProxy } from './proxy.ts';

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
    closing.push(await startProxy(place, work, config, secrets, (line) => lines.push(line)));

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

export async function until(done: () => Promise<boolean>, limitMs = 20_000): Promise<void> {
  const end = Date.now() + limitMs;
  while (!(await done().catch(() => false))) {
    if (Date.now() > end) throw new Error('it never came');
    await sleep(100);
  }
}
