import { randomBytes } from 'node:crypto';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { cloudflare } from '../../src/edge/api.ts';
import { openZone, PARTS, planZone } from '../../src/edge/apply.ts';
import type { FakeCloudflare } from '../fakes/cloudflare/index.ts';
import type { FakeScript } from '../fakes/cloudflare/workers.ts';
import { work, written } from './edge-zone-fixture.ts';

const key = () => randomBytes(32).toString('base64url');
export const SECRETS = {
  keks: [{ id: 'kek-1', key: key() }],
  sessionKeys: [{ id: 's-1', key: key() }],
  clientSecret: 'guess-me',
};
/** All that may be seen nowhere. */
export const HIDDEN = [SECRETS.keks, SECRETS.sessionKeys].flat().map((one) => one.key);
HIDDEN.push(SECRETS.clientSecret);

export function writeSecrets(name: string, secrets: object, mode = 0o600): string {
  writeFileSync(join(work, name), JSON.stringify(secrets));
  chmodSync(join(work, name), mode);
  return name;
}
test.before(() => {
  writeSecrets('secrets.json', SECRETS);
});

const signIn = { mode: 'oidc', issuer: 'https://accounts.example.org', clientId: 'clawdy' };
export const WORKER = {
  edge: { uiDomain: 'example.com', appsDomain: 'example.net', signIn },
  secrets: 'secrets.json',
};
/** A zone with the Worker alone. */
export const UI = {
  ...{ version: 1, zone: 'example.com', worker: WORKER },
  origins: [
    { name: 'alice.example.com', address: '203.0.113.7' },
    { name: 'bob-origin.example.com', address: '2001:db8::7' },
  ],
};

/** What is about the Worker. */
const MINE = PARTS.filter(({ name }) => ['KV', 'Worker', 'routes', 'former Worker', 'DNS'].includes(name));

/** One zone's file over a Cloudflare; no call is tried again. */
export async function opened(fake: FakeCloudflare, zone: object) {
  const api = cloudflare({ ...fake.env });
  api.maxRetries = 0;
  const context = await openZone(api, written(zone));
  return { context, plan: () => planZone(context, MINE) };
}

/** Changes a Worker as somebody does by hand: a version without a tag. */
export function byHand(script: FakeScript | undefined, change: (script: FakeScript) => void): void {
  if (!script) throw new Error('there is no Worker');
  change(script);
  script.metadata.annotations = { 'workers/triggered_by': 'secret' };
}
