import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sealEntry } from '../../layers/06-cloudflare/edge/core/envelope.ts';
import type { EdgeSecrets, Entry, Facts, LiveEntry } from '../../src/contract/edge.ts';
import { type Pair, selfSigned } from '../fakes/certificates.ts';
import { type FakeGate, startFakeGate } from '../fakes/gate.ts';
import { type FakeIssuer, startFakeIssuer } from '../fakes/issuer.ts';
import { type Answer, type Asking, call } from './call.ts';

export const UI_DOMAIN = 'clawdy.test';
export const APPS_DOMAIN = 'clawdyapps.test';
export const AUDIENCES = { ui: 'audience-of-ui', apps: 'audience-of-apps' };
export const OWNER = 'owner@example.com';
export const MODES = ['access', 'oidc'] as const;
export type Mode = (typeof MODES)[number];

/** How often open WebSockets are looked at here. */
export const RECHECK_S = 0.5;

/** What the two runtimes are started with, and what both lead to. */
export interface World {
  work: string;
  ports: Record<Mode, number>;
  tls: { edge: Pair; client: Pair; gate: Pair; issuer: Pair };
  gate: FakeGate;
  issuer: FakeIssuer;
  secrets: EdgeSecrets;
  /** The settings' JSON. */
  config(mode: Mode): unknown;
  adminToken: string;
  /** Every byte that a browser was sent, for the search of codes. */
  received: string[];
  /** A new instance and its entry. */
  instance(mode: Mode, change?: Partial<Facts>): Promise<{ slug: string; code: string; entry: LiveEntry }>;
  put(mode: Mode, entry: Entry, token?: string): Promise<Answer>;
  call(mode: Mode, host: string, path: string, asking?: Asking): Promise<Answer>;
  /** As an operator's tools ask the auth host, whatever host their URL names. */
  fetch(mode: Mode): typeof fetch;
  close(): Promise<void>;
}

/** The proxy in one runtime, in both modes. */
export interface Started {
  /** All that it has logged. */
  logs(): string;
  /** Changes an entry where it lies, without the admin's way. */
  tamper(entry: LiveEntry): Promise<void>;
  close(): Promise<void>;
}

export const newCode = () => randomBytes(32).toString('base64url');

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export async function makeWorld(): Promise<World> {
  const work = mkdtempSync(join(tmpdir(), 'clawdy-edge-'));
  const tls = {
    edge: selfSigned(work, 'edge', [`*.${UI_DOMAIN}`, `*.${APPS_DOMAIN}`, 'unknown.test']),
    client: selfSigned(work, 'client', []),
    gate: selfSigned(work, 'gate', ['gate.test']),
    issuer: selfSigned(work, 'issuer', ['localhost']),
  };
  const ports = { access: await freePort(), oidc: await freePort() };
  const gate = await startFakeGate(tls.gate, tls.client.certificate);
  const issuer = await startFakeIssuer(tls.issuer, () => `https://auth.${UI_DOMAIN}:${ports.oidc}/.clawdy/callback`);
  const adminToken = newCode();
  const secrets: EdgeSecrets = {
    ...{ keks: [{ id: 'kek-1', key: newCode() }], sessionKeys: [{ id: 's-1', key: newCode() }] },
    clientSecret: issuer.clientSecret,
    adminTokenSha256: createHash('sha256').update(adminToken).digest('hex'),
  };
  const signIn = {
    access: { mode: 'access', issuer: issuer.url, audiences: AUDIENCES },
    oidc: { mode: 'oidc', issuer: issuer.url, clientId: issuer.clientId },
  };
  const received: string[] = [];
  let instances = 0;
  const world: World = {
    ...{ work, ports, tls, gate, issuer, secrets, adminToken, received },
    config: (mode) => ({
      ...{ uiDomain: UI_DOMAIN, appsDomain: APPS_DOMAIN, publicPort: ports[mode] },
      ...{ signIn: signIn[mode], recheckSeconds: RECHECK_S },
    }),
    async instance(mode, change = {}) {
      const slug = `box-${instances++}`;
      const code = newCode();
      gate.codes.set(code, slug);
      const facts: Facts = {
        ...{ version: 1, slug, revision: 1, state: 'live', instanceId: `i-${slug}`, owner: OWNER },
        origin: { host: '127.0.0.1', port: gate.port, certificate: tls.gate.certificate },
        ...{ shares: ['ben@example.com'], apps: [{ port: 3000, shares: ['cleo@example.com'] }], ...change },
      };
      const entry = await sealEntry(facts, code, secrets.keks);
      const { status, text } = await world.put(mode, entry);
      if (status !== 201) throw new Error(`the registry answered ${status}: ${text}`);
      return { slug, code, entry };
    },
    put: (mode, entry, token = adminToken) =>
      world.call(mode, `auth.${UI_DOMAIN}`, `/.clawdy/registry/${entry.slug}`, {
        method: 'PUT',
        headers: { authorization: `Bearer ${token}` },
        body: JSON.stringify(entry),
      }),
    async call(mode, host, path, asking = {}) {
      const answer = await call(ports[mode], tls.edge.certificate, host, path, asking);
      received.push(answer.raw.join('\n'), answer.text);
      return answer;
    },
    fetch: (mode) => async (url, init) => {
      const { method = 'GET', headers, body } = init as Asking & { body?: string };
      const asking = { method, headers: headers ?? {}, ...(body ? { body } : {}) };
      const answer = await world.call(mode, `auth.${UI_DOMAIN}`, new URL(String(url)).pathname, asking);
      return new Response(answer.text, { status: answer.status });
    },
    async close() {
      await gate.close();
      await issuer.close();
      rmSync(work, { recursive: true, force: true });
    },
  };
  return world;
}
