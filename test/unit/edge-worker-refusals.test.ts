import { basename, join } from 'node:path';
import test from 'ava';
import { cloudflare } from '../../src/edge/api.ts';
import { applyPlan } from '../../src/edge/apply.ts';
import { zoneChecks } from '../../src/edge/doctor.ts';
import { renderPlan } from '../../src/edge/render.ts';
import { readWorkerSecrets } from '../../src/edge/worker-secrets.ts';
import { BuildError, EXIT } from '../../src/process/errors.ts';
import { startFakeCloudflare } from '../fakes/cloudflare/index.ts';
import { byHand, HIDDEN, SECRETS, UI, WORKER, writeSecrets } from './edge-worker-fixture.ts';
import { over, withZone, work, written } from './edge-zone-fixture.ts';

test('secrets are in no plan, no error and no answer of Cloudflare’s; their digest tells nothing of them', async (t) => {
  const { fake, planned, apply, context } = await withZone(t, UI);
  const seen = [renderPlan(await planned()), JSON.stringify(await planned())];
  await apply();
  byHand(fake.scripts.get('clawdy-edge'), () => {});
  seen.push(JSON.stringify(await planned()));
  fake.lose = () => true;
  const api = cloudflare({ ...fake.env });
  const lost = await t.throwsAsync(applyPlan(await planned(), planned, (_, work) => work()));
  seen.push(`${lost?.message}${(lost as BuildError).hint}`);
  fake.lose = undefined;
  const settings = api.workers.scripts.scriptAndVersionSettings.get('clawdy-edge', { account_id: context.accountId });
  seen.push(JSON.stringify(await settings));
  t.regex(seen.at(-1) ?? '', /"SECRETS"/);
  for (const secret of HIDDEN) for (const text of seen) t.false(text.includes(secret));

  const digestOf = (secrets: object) => readWorkerSecrets(join(work, writeSecrets('other.json', secrets))).digest;
  const keks = [{ id: 'kek-1', key: Buffer.alloc(32).toString('base64url') }];
  const digests = [SECRETS, { ...SECRETS, keks }, { ...SECRETS, keks, clientSecret: 'x' }].map(digestOf);
  t.is(new Set(digests).size, 3);
  t.is(digestOf(SECRETS), digests[0] as string);
  t.true(seen[1]?.includes(digests[0] as string));

  // Files that won't do, said without what is in them.
  for (const [content, mode, message] of [
    [{ ...SECRETS, [`${SECRETS.keks[0]?.key}`]: 1 }, 0o600, /isn't what the auth proxy's secrets look like/],
    [SECRETS, 0o640, /others than you/],
  ] as const) {
    const worker = { ...WORKER, secrets: writeSecrets('bad.json', content, mode) };
    const error = await t.throwsAsync(async () => (await over(fake, { ...UI, worker })).planned(), { message });
    for (const secret of HIDDEN) t.false(`${error?.message}${error?.stack}`.includes(secret));
  }
});

test('what Cloudflare doesn’t have, and what doesn’t go together, is said before anything changes', async (t) => {
  const { fake } = await withZone(t, UI);
  const refused = async (zone: object, message: RegExp) => {
    const error = await t.throwsAsync(async () => (await over(fake, zone)).apply(), {
      instanceOf: BuildError,
      message,
    });
    t.is(error.exitCode, EXIT.input, error.message);
    t.deepEqual(fake.changes, []);
  };
  const edge = (more: object) => ({ ...UI, worker: { ...WORKER, edge: { ...WORKER.edge, ...more } } });
  const deep = { ...edge({ uiDomain: 'agents.example.com' }), origins: [] };
  await refused(deep, /no certificate for \*\.agents\.example\.com/);
  fake.packs.push({ id: 'p', hosts: ['*.agents.example.com'], status: 'pending_validation' });
  await refused(deep, /no certificate/);
  (fake.packs[0] as { status?: string }).status = 'active';
  t.true((await (await over(fake, deep)).names()).includes('create route *.agents.example.com/*'));
  const scope = `openid email ${'x'.repeat(5000)}`;
  await refused(edge({ signIn: { ...WORKER.edge.signIn, scope } }), /worker has more than 5000 bytes/);
  await refused(
    edge({ uiDomain: 'example.org', appsDomain: 'example.net' }),
    /alice.example.com isn't one name below example.org/,
  );
  await refused({ ...edge({ uiDomain: 'example.org' }), origins: [] }, /example.org isn't in the zone example.com/);
  await refused(edge({ appsDomain: 'apps.example.com' }), /worker.edge.appsDomain/);
  const origin = { name: 'a.b.example.com', address: '203.0.113.9' };
  await refused({ ...UI, origins: [origin] }, /isn't one name below/);
  await refused({ ...UI, origins: [{ ...origin, name: 'auth.example.com' }] }, /isn't one name below/);
  await refused({ ...UI, appsOf: 'zone.yaml' }, /has worker and appsOf/);
  const file = basename(written(UI));
  await refused({ ...UI, worker: undefined, appsOf: file }, /has origins of its own/);
  await refused({ version: 1, zone: 'example.com', appsOf: file }, /example.net isn't in the zone example.com/);
  await refused(
    { version: 1, zone: 'example.net', appsOf: basename(written({ version: 1, zone: 'example.com' })) },
    /has no worker/,
  );
  await refused({ ...UI, worker: { ...WORKER, secrets: 'none.json' } }, /none.json can't be read/);
  for (let at = 0; at < 1000; at++) fake.routes.set(`${at}`, { id: `${at}`, pattern: `example.com/${at}` });
  await refused(UI, /another route beside 1000/);
});

test('doctor says which permission is missing; a token without them does for a zone without a Worker', async (t) => {
  const fake = await startFakeCloudflare();
  t.teardown(() => fake.close());
  const missing = async (zone: object) =>
    (await zoneChecks(cloudflare({ ...fake.env }), written(zone))).filter(({ ok }) => !ok).map(({ name }) => name);
  const kv = { ...UI, worker: { ...WORKER, registry: 'kv' } };
  t.deepEqual(await missing(kv), []);
  fake.forbidden.add('workers/routes');
  t.deepEqual(await missing(kv), ['routes (Workers Routes: Edit, SSL and Certificates: Edit)']);
  fake.forbidden.add('workers').add('storage');
  t.deepEqual(await missing(kv), [
    'KV (Workers KV Storage: Edit)',
    'Worker (Workers Scripts: Edit)',
    'routes (Workers Routes: Edit, SSL and Certificates: Edit)',
  ]);
  t.deepEqual(await missing({ version: 1, zone: 'example.com' }), []);
});
