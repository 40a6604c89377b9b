import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { cloudflare } from '../../src/edge/api.ts';
import { applyPlan, openZone, planRemoval, planZone } from '../../src/edge/apply.ts';
import { zoneChecks } from '../../src/edge/doctor.ts';
import { renderPlan } from '../../src/edge/render.ts';
import { BuildError, EXIT } from '../../src/process/errors.ts';
import { SCHEMAS } from '../fakes/cloudflare/judge.ts';
import { over, withZone, work, written, ZONE } from './edge-zone-fixture.ts';

test('the schemas are of the SDK that is pinned', (t) => {
  const { dependencies } = JSON.parse(readFileSync('package.json', 'utf8'));
  t.is(SCHEMAS.sdk, dependencies.cloudflare);
});

test('a zone becomes as zone.yaml wants it; again changes nothing; each drift is seen and mended', async (t) => {
  const { fake, apply, names, planned } = await withZone(t, ZONE);
  t.deepEqual(fake.changes, [], 'looking changes nothing');
  const text = renderPlan(await planned());
  t.snapshot(text.replace(/serial \w+, until [^\n]*/, 'serial …'));
  t.false(text.includes('PRIVATE'));
  t.true((await apply()) > 10);
  t.is(fake.settings.get('ssl')?.value, 'strict');
  t.true(fake.pulls);
  t.deepEqual(
    [...fake.certificates.values()].map(({ status }) => status),
    ['active'],
  );
  t.deepEqual(
    fake.phases.get('http_request_firewall_custom')?.map(({ ref }) => ref),
    ['clawdy_pretenders', 'clawdy_custom_no_admin'],
  );
  t.deepEqual([...fake.records.values()].map(({ name, proxied }) => [name, proxied]).sort(), [
    ['alice.example.com', true],
    ['bob.example.com', true],
    ['carol.example.com', true],
  ]);
  const before = fake.changes.length;
  t.is(await apply(), 0);
  t.is(fake.changes.length, before);

  const rule = (phase: string) => fake.phases.get(phase)?.[0] as Record<string, unknown>;
  const app = () => [...fake.apps.values()][0] as Record<string, unknown>;
  const policy = () => [...fake.policies.values()][0] as unknown as { include: unknown[]; decision: string };
  const record = (name: string) =>
    [...fake.records.values()].find((one) => one.name === name) as Record<string, unknown>;
  const drifts: [string, () => unknown][] = [
    ...[...fake.settings.keys()].map((id): [string, () => unknown] => [
      `update setting ${id}`,
      () => {
        const now = fake.settings.get(id) as { value: unknown };
        now.value = id === 'security_header' ? {} : 'drifted';
      },
    ]),
    ['update origin pulls', () => (fake.pulls = false)],
    ['create client certificate', () => fake.certificates.clear()],
    ['update Bot Fight Mode', () => (fake.fight = true)],
    ['update http_request_firewall_custom', () => (rule('http_request_firewall_custom').enabled = false)],
    ['update http_request_firewall_custom', () => (rule('http_request_firewall_custom').expression = '(false)')],
    ['update http_request_firewall_custom', () => fake.phases.get('http_request_firewall_custom')?.reverse()],
    [
      'update http_ratelimit',
      () => ((rule('http_ratelimit').ratelimit as Record<string, unknown>).requests_per_period = 9999),
    ],
    ['update http_request_firewall_managed', () => fake.phases.delete('http_request_firewall_managed')],
    ['update Access application clawdy: example.com', () => (app().session_duration = '720h')],
    ['update Access policy clawdy: example.com', () => policy().include.push({ everyone: {} })],
    ['update Access policy clawdy: example.com', () => (policy().decision = 'bypass')],
    [
      'update Access application clawdy: example.com',
      () => (app().destinations = [{ type: 'public', uri: 'other.example.com' }]),
    ],
    ['update Access application clawdy: example.com', () => (app().options_preflight_bypass = true)],
    ['update Access application clawdy: example.com', () => (app().http_only_cookie_attribute = false)],
    ['create Access application clawdy: example.com', () => fake.apps.clear()],
    ['update record alice.example.com', () => (record('alice.example.com').proxied = false)],
    ['update record bob.example.com', () => (record('bob.example.com').content = '2001:db8::666')],
    ['create record carol.example.com', () => fake.records.delete(record('carol.example.com').id as string)],
    [
      'delete record old.example.com',
      () =>
        fake.records.set('x', {
          id: 'x',
          name: 'old.example.com',
          type: 'A',
          content: '203.0.113.1',
          comment: 'clawdy',
        }),
    ],
  ];
  for (const [name, drift] of drifts) {
    drift();
    t.deepEqual(await names(), [name]);
    t.is(await apply(), 1, name);
    t.deepEqual(await names(), []);
  }
});

test('what is others’ stays, in its order; all that is ours goes', async (t) => {
  const { fake, apply, context, names } = await withZone(t, ZONE);
  const foreign = ['first', 'second'].map((id, at) => ({
    ...{ id, ref: id, version: '7', last_updated: '2026-01-01T00:00:00Z', enabled: at === 0 },
    ...{ action: 'block', expression: `(http.host eq "${id}")`, description: id, logging: { enabled: true } },
  }));
  fake.phases.set('http_request_firewall_custom', structuredClone(foreign));
  fake.records.set('f', { id: 'f', name: 'www.example.com', type: 'A', content: '198.51.100.1', comment: 'theirs' });
  fake.apps.set('a', { id: 'a', name: 'theirs', domain: 'x.example.com' });
  fake.certificates.set('c', {
    id: 'c',
    certificate: readFileSync(join(work, 'foreign.crt'), 'utf8'),
    status: 'active',
    polls: 9,
  });
  await apply();
  const kept = () => fake.phases.get('http_request_firewall_custom')?.filter(({ ref }) => !ref.startsWith('clawdy_'));
  const told = (rules: Record<string, unknown>[] = []) => rules.map(({ version, last_updated, ...rest }) => rest);
  t.deepEqual(told(kept()), told(foreign));

  // Another certificate of our CA takes the place of the one before; another CA's isn't touched.
  const two = await over(fake, { ...ZONE, originPulls: { certificate: 'two.crt', key: 'two.key' } });
  t.deepEqual(await two.names(), ['create client certificate', 'delete client certificate']);
  await two.apply();
  t.is(fake.certificates.size, 2);

  const gone = await planRemoval(two.context);
  await applyPlan(
    gone,
    () => planRemoval(two.context),
    (_, apply) => apply(),
  );
  t.deepEqual(
    [...fake.records.keys(), ...fake.apps.keys(), ...fake.policies.keys(), ...fake.certificates.keys()],
    ['f', 'a', 'c'],
  );
  t.deepEqual(told(kept()), told(foreign));
  t.deepEqual(fake.phases.get('http_ratelimit'), []);
  t.true((await names()).length > 5);
  t.is(context.limits.plan, 'free');
});

test('cut after each change: the next apply does the rest, and nothing twice', async (t) => {
  const whole = await withZone(t, ZONE);
  await whole.apply();
  const count = whole.fake.changes.length;
  t.true(count > 10);
  for (let cut = 1; cut <= count; cut++) {
    const { fake, apply, names } = await withZone(t, ZONE);
    let left = cut;
    // The SDK tries a lost answer again; whoever is killed doesn't.
    fake.lose = () => --left <= 0;
    const api = cloudflare({ ...fake.env });
    api.maxRetries = 0;
    const context = await openZone(api, written(ZONE));
    await t.throwsAsync(
      applyPlan(
        await planZone(context),
        () => planZone(context),
        (_, apply) => apply(),
      ),
      { instanceOf: BuildError },
    );
    fake.lose = undefined;
    await apply();
    t.deepEqual(await names(), []);
    t.deepEqual(
      [fake.records.size, fake.certificates.size, fake.apps.size, fake.policies.size],
      [3, 1, 1, 1],
      `cut ${cut}`,
    );
  }
});

test('what the plan doesn’t have, what is somebody else’s, and what can’t be read is said before anything changes', async (t) => {
  const { fake } = await withZone(t, ZONE);
  const refused = async (zone: object, message: RegExp, exitCode: number = EXIT.input) => {
    const error = await t.throwsAsync(async () => (await over(fake, zone)).apply(), {
      instanceOf: BuildError,
      message,
    });
    t.is(error.exitCode, exitCode, error.message);
    t.deepEqual(fake.changes, [], String(message));
  };
  const rule = ZONE.rules[0] as object;
  const limit = ZONE.rateLimits[0] as object;
  await refused(
    { ...ZONE, rules: Array.from({ length: 5 }, (_, at) => ({ ...rule, name: `rule-${at}` })) },
    /6 rules of ours and 0 of others \(at most 5\)/,
  );
  await refused({ ...ZONE, rules: [{ ...rule, expression: 'http.host matches "a"' }] }, /`matches`.*free/);
  await refused({ ...ZONE, rules: [{ ...rule, action: 'log' }] }, /only logs/);
  await refused({ ...ZONE, rateLimits: [{ ...limit, seconds: 60 }] }, /60 s \(of 10\)/);
  await refused({ ...ZONE, rateLimits: [limit, { ...limit, name: 'b' }] }, /2 rules of ours/);
  await refused({ ...ZONE, waf: { owasp: true } }, /OWASP/);
  await refused(
    { ...ZONE, rateLimits: [{ ...limit, expression: '(http.host eq "ip.src.x")' }] },
    /the field http.host \(of http.request.uri.path/,
  );
  await refused({ ...ZONE, rules: [rule, rule] }, /rules: a name twice/);
  await refused({ ...ZONE, originPulls: { certificate: 'ca.crt', key: 'ca.key' } }, /a CA's/);
  await refused({ ...ZONE, originPulls: { certificate: 'late.crt', key: 'late.key' } }, /ends on/);
  await refused({ ...ZONE, originPulls: { certificate: 'one.key', key: 'one.key' } }, /no certificate/);
  await refused({ ...ZONE, originPulls: { certificate: 'none.crt', key: 'one.key' } }, /none.crt can't be read/);
  await refused({ ...ZONE, origins: [{ name: 'alice.example.org', address: '203.0.113.7' }] }, /isn't in the zone/);
  await refused({ ...ZONE, zone: 'example.org', origins: [], access: undefined }, /sees no zone example.org/);
  await refused({ ...ZONE, hsts: { day: 1 } }, /zone-\d+\.yaml:1: hsts.day/);
  fake.records.set('f', {
    id: 'f',
    name: 'bob.example.com',
    type: 'CNAME',
    content: 'elsewhere.example',
    comment: 'theirs',
  });
  await refused(ZONE, /bob.example.com has a record \(CNAME elsewhere.example\) that isn't ours/);
  fake.records.clear();
  (fake.settings.get('ssl') as { editable: boolean }).editable = false;
  await refused(ZONE, /doesn't let the setting ssl be changed/);
  (fake.settings.get('ssl') as { editable: boolean }).editable = true;
  fake.plan = 'unheard-of';
  await refused(ZONE, /plan that isn't known/);
  fake.plan = 'free';
  fake.forbidden.add('rulesets');
  await refused(ZONE, /reading http_.*403.*Authentication error/, EXIT.failed);
  fake.forbidden.clear();
  // A token for less is enough for who wants less.
  fake.forbidden.add('access');
  t.deepEqual(
    (await (await over(fake, { ...ZONE, access: undefined })).names()).filter((name) => /Access/.test(name)),
    [],
  );
  fake.forbidden.clear();
  t.throws(() => cloudflare({}), { message: /CLOUDFLARE_API_TOKEN is not set/ });
  await t.throwsAsync(openZone(cloudflare({ ...fake.env, CLOUDFLARE_API_TOKEN: 'wrong' }), written(ZONE)), {
    message: /401/,
  });
  // More is to be had for more.
  fake.plan = 'pro';
  const pro = await over(fake, { ...ZONE, waf: { owasp: true }, rateLimits: [{ ...limit, seconds: 60, pause: 600 }] });
  await pro.apply();
  t.is(fake.phases.get('http_request_firewall_managed')?.length, 2);
});

test('a name may have two addresses, in whatever form they are written', async (t) => {
  const origins = [
    { name: 'alice.example.com', address: '203.0.113.7' },
    { name: 'alice.example.com', address: '2001:0db8:0::7' },
  ];
  const { fake, apply, names } = await withZone(t, { ...ZONE, origins });
  await apply();
  const there = () => [...fake.records.values()].map(({ type, content }) => `${type} ${content}`).sort();
  t.deepEqual(there(), ['A 203.0.113.7', 'AAAA 2001:db8::7']);
  t.deepEqual(await names(), []);
  const one = await over(fake, { ...ZONE, origins: [{ name: 'alice.example.com', address: '203.0.113.8' }] });
  t.deepEqual(await one.names(), ['update record alice.example.com', 'delete record alice.example.com']);
  await one.apply();
  t.deepEqual(there(), ['A 203.0.113.8']);
});

test('doctor says which permission is missing', async (t) => {
  const { fake } = await withZone(t, ZONE);
  fake.forbidden.add('rulesets');
  const checks = await zoneChecks(cloudflare({ ...fake.env }), written(ZONE));
  t.deepEqual(
    checks.filter(({ ok }) => !ok).map(({ name }) => name),
    ['rules (Zone WAF: Edit)'],
  );
  t.deepEqual(fake.changes, []);
});
