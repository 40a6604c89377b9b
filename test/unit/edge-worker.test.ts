import { basename } from 'node:path';
import test from 'ava';
import { change } from '../../src/cli/edge-change.ts';
import { applyPlan, type Planned, planRemoval } from '../../src/edge/apply.ts';
import { renderPlan } from '../../src/edge/render.ts';
import { BuildError, EXIT } from '../../src/process/errors.ts';
import { Progress } from '../../src/process/progress.ts';
import { startFakeCloudflare } from '../fakes/cloudflare/index.ts';
import type { FakeScript } from '../fakes/cloudflare/workers.ts';
import { byHand, opened, SECRETS, UI, WORKER, writeSecrets } from './edge-worker-fixture.ts';
import { over, withZone, written } from './edge-zone-fixture.ts';

const ROUTE = '*.example.com/*';
const names = (plan: Planned[]) => plan.flatMap(({ changes }) => changes.map(({ what, name }) => `${what} ${name}`));
const applied = async (plan: () => Promise<Planned[]>) => applyPlan(await plan(), plan, (_, apply) => apply());

test('a Worker becomes as zone.yaml wants it; again changes nothing; each drift is seen and mended', async (t) => {
  const fake = await startFakeCloudflare();
  t.teardown(() => fake.close());
  const { plan } = await opened(fake, UI);
  t.regex(renderPlan(await plan()), /\+ Worker clawdy-edge\n {6}\+ module: sha256 [0-9a-f]{64}\n/);
  await applied(plan);
  t.deepEqual(names(await plan()), []);
  const calls = fake.changes.length;
  t.is(await applied(plan), 0);
  t.is(fake.changes.length, calls);

  const script = () => fake.scripts.get('clawdy-edge') as FakeScript;
  t.deepEqual(script().addresses, { enabled: false, previews_enabled: false });
  t.deepEqual(script().metadata.tags, ['clawdy:example.com']);
  t.deepEqual([...fake.objects.keys()], ['clawdy-edge/RegistryObject', 'clawdy-edge/SpentObject']);
  const bound = Object.fromEntries(script().metadata.bindings.map(({ name, ...rest }) => [name, rest.text]));
  t.like(JSON.parse(bound.CONFIG ?? ''), { ...WORKER.edge, sessionSeconds: 14_400 });
  t.deepEqual(JSON.parse(bound.SECRETS ?? ''), SECRETS);
  t.deepEqual(
    [...fake.routes.values()].map(({ pattern, script }) => [pattern, script]),
    [[ROUTE, 'clawdy-edge']],
  );
  t.like([...fake.records.values()].at(-1), { name: '*.example.com', type: 'AAAA', content: '100::', proxied: true });

  const objects = new Map(fake.objects);
  const config = (of: FakeScript) =>
    of.metadata.bindings.find(({ name }) => name === 'CONFIG') as FakeScript['metadata']['bindings'][0] & {
      text: string;
    };
  const drifts: [RegExp, () => void][] = [
    [/module: sha256/, () => byHand(script(), (it) => (it.module += '\n'))],
    [
      /bindings.CONFIG.sessionSeconds: 9 → 14400/,
      () =>
        byHand(
          script(),
          (it) => (config(it).text = JSON.stringify({ ...JSON.parse(config(it).text), sessionSeconds: 9 })),
        ),
    ],
    [/bindings.CONFIG: oops → /, () => byHand(script(), (it) => (config(it).text = 'oops'))],
    [/\+ bindings.SPENT: Durable Object/, () => byHand(script(), (it) => it.metadata.bindings.pop())],
    [
      /- bindings.EXTRA: plain_text/,
      () => byHand(script(), (it) => it.metadata.bindings.push({ type: 'plain_text', name: 'EXTRA', text: 'said' })),
    ],
    [/compatibility: 2020-01-01 → /, () => byHand(script(), (it) => (it.metadata.compatibility_date = '2020-01-01'))],
    [/secrets: of a version made by hand → /, () => byHand(script(), () => {})],
    [/logs: own lines, every request → none/, () => (script().metadata.observability = { enabled: true })],
    [
      /logs: Logpush, to spy → none/,
      () => Object.assign(script().metadata, { logpush: true, tail_consumers: [{ service: 'spy' }] }),
    ],
    [/addresses of .*\n.*enabled: true → false/, () => (script().addresses.enabled = true)],
    [/previews_enabled: true → false/, () => (script().addresses.previews_enabled = true)],
    [/route \*\.example\.com/, () => fake.routes.clear()],
    [
      /- route example.com\/x\*/,
      () => fake.routes.set('x', { id: 'x', pattern: 'example.com/x*', script: 'clawdy-edge' }),
    ],
    [/\+ record \*\.example\.com/, () => fake.records.delete([...fake.records.keys()].at(-1) as string)],
    [/\+ Worker clawdy-edge/, () => fake.scripts.delete('clawdy-edge')],
  ];
  for (const [told, drift] of drifts) {
    drift();
    const text = renderPlan(await plan());
    t.regex(text, told);
    t.notRegex(text, /said/, 'what a binding of somebody else’s says may be secret');
    await applied(plan);
    t.deepEqual(names(await plan()), [], String(told));
  }
  t.deepEqual(fake.objects, objects, 'the registry is the same');

  // Other settings, other secrets, another name for it.
  const secrets = writeSecrets('rotated.json', { ...SECRETS, clientSecret: 'another' });
  const changed = await opened(fake, { ...UI, worker: { ...WORKER, secrets, logs: true } });
  t.regex(renderPlan(await changed.plan()), /~ secrets: [0-9a-f]{64} → [0-9a-f]{64}\n {6}~ logs: none → own lines/);
  await applied(changed.plan);
  t.deepEqual(script().metadata.observability, { enabled: true, logs: { enabled: true, invocation_logs: false } });
  const inKv = await opened(fake, { ...UI, worker: { ...WORKER, registry: 'kv' } });
  t.regex(
    renderPlan(await inKv.plan()),
    /- bindings.REGISTRY: Durable Object RegistryObject\n[^+]*\+ bindings.KV: KV clawdy: example.com/,
  );
  await applied(inKv.plan);
  t.deepEqual([names(await inKv.plan()), fake.objects], [[], objects], 'what was in objects stays');
  const renamed = await opened(fake, { ...UI, worker: { ...WORKER, name: 'other' } });
  const planOfRename = await renamed.plan();
  t.regex(renderPlan(planOfRename), /- Worker clawdy-edge\n {6}! lost for good: the registry/);
  await applied(renamed.plan);
  t.deepEqual([...fake.scripts.keys(), ...[...fake.routes.values()].map(({ script }) => script)], ['other', 'other']);
});

for (const registry of ['durable-objects', 'kv'])
  test(`${registry}: cut after each change nobody is led to what is half made, and the next apply does the rest`, async (t) => {
    const zone = { ...UI, worker: { ...WORKER, registry } };
    const whole = await startFakeCloudflare();
    t.teardown(() => whole.close());
    await applied((await opened(whole, zone)).plan);
    const count = whole.changes.length;
    t.is(count, registry === 'kv' ? 7 : 6);
    t.is(whole.namespaces.size + whole.objects.size, registry === 'kv' ? 1 : 2);
    for (let cut = 1; cut <= count; cut++) {
      const fake = await startFakeCloudflare();
      t.teardown(() => fake.close());
      let left = cut;
      fake.lose = () => --left <= 0;
      const { plan } = await opened(fake, zone);
      await t.throwsAsync(applied(plan), { instanceOf: BuildError });
      fake.lose = undefined;
      const made = fake.scripts.get('clawdy-edge');
      if (fake.routes.size) t.false(made?.addresses.enabled ?? true);
      if (fake.records.size) t.is(fake.routes.size, 1);
      await applied(plan);
      t.deepEqual(names(await plan()), []);
      const parts = [fake.scripts, fake.routes, fake.records, fake.namespaces, fake.objects];
      t.deepEqual(
        parts.map(({ size }) => size),
        [1, 1, 3, registry === 'kv' ? 1 : 0, registry === 'kv' ? 0 : 2],
        `cut ${cut}`,
      );
    }
  });

test('the apps’ zone has the same origins and a route to the Worker, which has to be there', async (t) => {
  const { fake, context, apply } = await withZone(t, UI);
  const file = basename(written(UI));
  const zone = { version: 1, zone: 'example.net', appsOf: file };
  const apps = await opened(fake, zone);
  const early = await t.throwsAsync(apps.plan(), { message: /there is no Worker clawdy-edge of example.com yet/ });
  t.regex((early as BuildError).hint, new RegExp(`--zone ${file}`));
  await apply();
  await applied(apps.plan);
  t.deepEqual(names(await apps.plan()), []);
  t.deepEqual(
    [...fake.second.records.values()].map(({ name, content }) => `${name} ${content}`),
    ['alice.example.net 203.0.113.7', 'bob-origin.example.net 2001:db8::7', '*.example.net 100::'],
  );
  t.like([...fake.second.routes.values()], [{ pattern: '*.example.net/*', script: 'clawdy-edge' }]);
  // Its settings are a zone's as any other's.
  const whole = await over(fake, zone);
  await whole.apply();
  t.is(fake.second.settings.get('ssl')?.value, 'strict');
  for (const { name, phases } of [fake, fake.second]) {
    const rule = phases.get('http_request_firewall_custom')?.find(({ ref }) => ref === 'clawdy_pretenders');
    t.true(`${rule?.expression}`.endsWith(` and cf.worker.upstream_zone ne "${name}")`));
  }

  // The Worker may go first: the route that is left names nobody else's.
  await applied(() => planRemoval(context));
  t.deepEqual([fake.scripts.size, fake.objects.size, fake.routes.size, fake.second.routes.size], [0, 0, 0, 1]);
  await applied(() => planRemoval(whole.context));
  t.deepEqual([fake.second.routes.size, fake.second.records.size], [0, 0]);
});

test('what is somebody else’s is refused and stays; what is ours goes, the registry only when it is said', async (t) => {
  const { fake, context } = await withZone(t, UI);
  const theirs = { metadata: { tags: ['cf:service=x'], bindings: [] }, module: 'theirs' } as unknown as FakeScript;
  const refused = async (zone: object, message: RegExp) => {
    const before = fake.changes.length;
    const error = await t.throwsAsync(async () => (await over(fake, zone)).planned(), {
      instanceOf: BuildError,
      message,
    });
    t.is(error.exitCode, EXIT.input, error.message);
    t.is(fake.changes.length, before);
  };
  fake.scripts.set('clawdy-edge', theirs);
  await refused(UI, /a Worker clawdy-edge that isn't ours: it hasn't the tag clawdy:example.com/);
  fake.scripts.delete('clawdy-edge');
  fake.scripts.set('theirs', theirs);
  const route = (pattern: string, script?: string) =>
    fake.routes.set('f', { id: 'f', pattern, ...(script ? { script } : {}) });
  for (const pattern of [ROUTE, 'auth.example.com/*', 'https://*.alice.example.com/x']) {
    route(pattern, 'theirs');
    await refused(UI, /the route .* \(Worker theirs\) isn't ours/);
  }
  route('alice.example.com/*');
  await refused(UI, /past all Workers/);
  route('www.example.com/*', 'theirs');
  await applied((await opened(fake, UI)).plan);
  t.is(fake.routes.size, 2);

  // --yes isn't enough where something is lost, and nothing is done without the answer.
  const removal = () => planRemoval(context);
  const before = fake.changes.length;
  const options = { yes: true, json: true };
  await t.throwsAsync(change(context, options, new Progress(), removal), { message: /lost for good: the registry of/ });
  t.is(fake.changes.length, before);
  await change(context, { ...options, loseRegistry: true }, new Progress(), removal);
  t.deepEqual([...fake.scripts.keys()], ['theirs']);
  t.like([...fake.routes.values()], [{ pattern: 'www.example.com/*' }]);
  t.deepEqual([fake.records.size, fake.objects.size], [0, 0]);

  // KV's namespace is lost as well.
  await applied((await opened(fake, { ...UI, worker: { ...WORKER, registry: 'kv' } })).plan);
  t.regex(renderPlan(await removal()), /- namespace clawdy: example.com\n {6}! lost for good/);
  await applied(removal);
  t.deepEqual([fake.namespaces.size, fake.scripts.size], [0, 1]);
});
