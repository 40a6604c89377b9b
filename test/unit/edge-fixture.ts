import { randomBytes } from 'node:crypto';
import { type CryptoKey, exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose';
import { sealEntry } from '../../layers/06-cloudflare/edge/core/envelope.ts';
import { handle } from '../../layers/06-cloudflare/edge/core/handle.ts';
import { checkNewer, ENROLMENTS, ENTRIES, type Kind } from '../../layers/06-cloudflare/edge/core/kinds.ts';
import { Rate } from '../../layers/06-cloudflare/edge/core/rate.ts';
import type { Accept, Runtime, Store } from '../../layers/06-cloudflare/edge/core/runtime.ts';
import { type EdgeSecrets, type Entry, edgeConfigSchema, type Facts } from '../../src/contract/edge.ts';
import { ENROL_RATE, type Enrolment } from '../../src/contract/edge-enrolment.ts';

export const key32 = () => randomBytes(32).toString('base64url');
export const CODE = key32();
export const AUDIENCES = { ui: 'audience-of-ui', apps: 'audience-of-apps' };
export const UI = 'https://anna.clawdy.test';
export const APP = 'https://3000--anna.clawdyapps.test';

export const FACTS: Facts = {
  ...{ version: 1, slug: 'anna', revision: 1, state: 'live', instanceId: 'i-1', owner: 'anna@example.com' },
  origin: { host: '192.0.2.7', port: 443, certificate: '-----BEGIN CERTIFICATE-----' },
  ...{ shares: ['ben@example.com', 'mike@example.com'], apps: [{ port: 3000, shares: ['cleo@example.com'] }] },
};

let issuers = 0;

function storeIn<Kept extends { revision: number }>(kept: Map<string, Kept>, kind: Kind<Kept>): Store<Kept> {
  return {
    get: async (name) => kept.get(name),
    put: async (next) => {
      checkNewer(kept.get(kind.nameOf(next)), next);
      kept.set(kind.nameOf(next), next);
    },
  };
}

/** A runtime in memory, behind Cloudflare Access: what reached the gate, what was logged, and a clock that is set. */
export async function memoryEdge() {
  const { publicKey, privateKey } = await generateKeyPair('RS256', { extractable: true });
  const issuer = `https://team-${issuers++}.test`;
  // Without `alg`: it is the settings that must refuse another.
  const jwk = { ...(await exportJWK(publicKey)), kid: 'k' };
  const secrets: EdgeSecrets = {
    keks: [{ id: 'kek-1', key: key32() }],
    sessionKeys: [{ id: 's-1', key: key32() }],
  };
  const entries = new Map<string, Entry>();
  const launches = new Map<string, Enrolment>();
  const spent = new Set<string>();
  const asked: Request[] = [];
  const logged: string[] = [];
  const clock = { now: Math.floor(Date.now() / 1000) };
  const runtime: Runtime = {
    config: edgeConfigSchema.parse({
      ...{ uiDomain: 'clawdy.test', appsDomain: 'clawdyapps.test' },
      signIn: { mode: 'access', issuer, audiences: AUDIENCES },
    }),
    secrets,
    registry: storeIn(entries, ENTRIES),
    enrolments: storeIn(launches, ENROLMENTS),
    enrolRate: new Rate(ENROL_RATE),
    spent: {
      spend: async (id) => !spent.has(id) && !!spent.add(id),
      isSpent: async (id) => spent.has(id),
    },
    log: (event, facts) => logged.push(JSON.stringify({ event, ...facts })),
    now: () => clock.now,
    fetch: async () => Response.json({ keys: [jwk] }),
    ask: async (_origin, request) => {
      asked.push(request);
      return new Response('from the instance');
    },
    connect: async () => ({ refusal: new Response(null, { status: 500 }) }),
  };
  entries.set('anna', await sealEntry(FACTS, CODE, secrets.keks));
  const accept: Accept = () => {
    throw new Error('no upgrade here');
  };
  return {
    ...{ runtime, entries, launches, asked, logged, clock, issuer, jwk, privateKey },
    /** A token as Access gives one. @param header over what it says by itself. */
    token: (claims: JWTPayload = {}, signer: CryptoKey | Uint8Array = privateKey, header = {}) =>
      new SignJWT({
        ...{ iss: issuer, sub: '1', aud: AUDIENCES.ui, email: 'anna@example.com' },
        ...{ iat: clock.now, exp: clock.now + 600, ...claims },
      })
        .setProtectedHeader({ alg: 'RS256', kid: 'k', ...header })
        .sign(signer),
    handle: (url: string, init: RequestInit = {}, visitor = '192.0.2.1') =>
      handle(runtime, new Request(url, init), visitor, accept),
  };
}
export type MemoryEdge = Awaited<ReturnType<typeof memoryEdge>>;
