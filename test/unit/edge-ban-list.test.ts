import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { cloudflare } from '../../src/edge/api.ts';
import { applyPlan, BAN_PARTS, openZone, planRemoval, planZone } from '../../src/edge/apply.ts';
import { readReports, writeReports } from '../../src/edge/ban-reports.ts';
import type { Report } from '../../src/edge/bans.ts';
import { bansFile } from '../../src/launch/places.ts';
import { BuildError, EXIT } from '../../src/process/errors.ts';
import { over, withZone, work, written, ZONE } from './edge-zone-fixture.ts';

// What instances have told is in a file of the operator's, so these run one after the other.
test.before(() => {
  process.env.XDG_STATE_HOME = join(work, 'state');
});

const BANS = { ...ZONE, bans: {} };
const ban = (address: string) => ({ address, since: '2026-11-29T11:00:00.000Z', until: '2026-11-29T13:00:00.000Z' });
const EVIL = '203.0.113.66';

function told(asked: string, ...reports: Report[]) {
  const all = Object.fromEntries(reports.map((report, at) => [`i-${at}`, report]));
  writeReports({ version: 1, proxies: { 'https://auth.example.com': { asked, reports: all } } });
}
const three = () => [
  { owner: 'ann', hosts: ['ann.example.com', '*--ann.apps.example'], bans: [ban(EVIL), ban('203.0.113.67')] },
  { owner: 'ben', hosts: ['ben.example.com'], bans: [ban(EVIL), ban('2001:db8:9:9::/64')] },
  { owner: 'cleo', hosts: ['cleo.example.com'], bans: [ban(EVIL)] },
];

test.serial('whom instances have banned is banned here; what drifts is seen; what ends goes', async (t) => {
  told('2026-11-29T12:00:00.000Z', ...three());
  const { fake, apply, names } = await withZone(t, BANS);
  await apply();
  const list = () => [...fake.lists.values()][0];
  t.deepEqual(
    list()?.items.map(({ ip }) => ip),
    [EVIL],
  );
  t.is(list()?.name, 'clawdy_example_com_a379a6f6');
  const rules = () => fake.phases.get('http_request_firewall_custom') ?? [];
  const banned = () => rules().find(({ ref }) => ref === 'clawdy_bans')?.expression;
  t.is(
    banned(),
    '(ip.src in $clawdy_example_com_a379a6f6) or (http.host eq "ann.example.com" and ip.src in {203.0.113.67}) or (http.host eq "ben.example.com" and ip.src in {2001:db8:9:9::/64})',
  );
  t.is(await apply(), 0);

  for (const [name, drift] of [
    ['update list clawdy_example_com_a379a6f6', () => list()?.items.push({ id: 'x', ip: '198.51.100.1' })],
    ['update list clawdy_example_com_a379a6f6', () => list()?.items.pop()],
    [
      'update http_request_firewall_custom',
      () => ((rules()[1] as unknown as { expression: string }).expression = '(ip.src in $clawdy_example_com_a379a6f6)'),
    ],
  ] as const) {
    drift();
    t.deepEqual(await names(), [name]);
    t.is(await apply(), 1);
  }

  // An hour later nobody has told anything new: bans are over when instances are asked, and not before.
  t.deepEqual(await names(), []);
  told('2026-11-29T13:00:01.000Z', ...three());
  const later = await over(fake, BANS);
  t.deepEqual(await later.names(), ['update list clawdy_example_com_a379a6f6', 'update http_request_firewall_custom']);
  const parts = () => planZone(later.context, BAN_PARTS);
  t.is(await applyPlan(await parts(), parts, (_, change) => change()), 2);
  t.deepEqual(list()?.items, []);
  t.is(banned(), '(ip.src in $clawdy_example_com_a379a6f6)');
});

test.serial('a timer changes the bans’ own rule and list, and nothing else of the zone', async (t) => {
  told('2026-11-29T12:00:00.000Z', ...three());
  const { fake, apply } = await withZone(t, BANS);
  await apply();
  // Somebody means to change rules, and somebody has changed one by hand.
  const rules = () => fake.phases.get('http_request_firewall_custom') ?? [];
  (rules().at(-1) as unknown as { expression: string }).expression = '(by hand)';
  fake.phases.set('http_ratelimit', []);
  const evil = Array.from({ length: 5 }, (_, at) => ban(`203.0.113.${at + 1}`));
  told('2026-11-29T12:00:01.000Z', ...three().map((report) => ({ ...report, bans: evil })));
  const { context } = await over(fake, { ...BANS, rules: [] });
  const parts = () => planZone(context, BAN_PARTS);
  t.is(await applyPlan(await parts(), parts, (_, change) => change()), 2);
  t.is([...fake.lists.values()][0]?.items.length, 5);
  t.deepEqual(
    rules().map(({ ref, expression }) => [ref, expression]),
    [
      ['clawdy_pretenders', rules()[0]?.expression],
      ['clawdy_bans', '(ip.src in $clawdy_example_com_a379a6f6)'],
      ['clawdy_custom_no_admin', '(by hand)'],
    ],
  );
  t.deepEqual(fake.phases.get('http_ratelimit'), []);
});

test.serial('where this machine has asked no instance, what is banned stays', async (t) => {
  told('2026-11-29T12:00:00.000Z', ...three());
  const { fake, apply } = await withZone(t, BANS);
  await apply();
  rmSync(bansFile());
  const elsewhere = await over(fake, BANS);
  t.deepEqual(await elsewhere.names(), []);
  t.is([...fake.lists.values()][0]?.items.length, 1);
  const fresh = await withZone(t, BANS);
  await fresh.apply();
  t.is(fresh.fake.lists.size, 0);
  t.false(fresh.fake.phases.get('http_request_firewall_custom')?.some(({ ref }) => ref === 'clawdy_bans'));
});

test.serial(
  'without bans in zone.yaml the list goes, after the rule that names it; so it does with all that is ours',
  async (t) => {
    told('2026-11-29T12:00:00.000Z', ...three());
    const { fake, apply, context } = await withZone(t, BANS);
    await apply();
    t.is(fake.lists.size, 1);
    const without = await over(fake, ZONE);
    t.deepEqual(await without.names(), [
      'update http_request_firewall_custom',
      'delete list clawdy_example_com_a379a6f6',
    ]);
    await without.apply();
    t.is(fake.lists.size, 0);
    await apply();
    t.is(fake.lists.size, 1);
    await applyPlan(
      await planRemoval(context),
      () => planRemoval(context),
      (_, change) => change(),
    );
    t.is(fake.lists.size, 0);
    // A token that may not see lists is enough for who wants none.
    fake.forbidden.add('rules/lists');
    await (await over(fake, ZONE)).apply();
    await t.throwsAsync(
      over(fake, BANS).then((of) => of.apply()),
      { message: /403/ },
    );
  },
);

test.serial('cut after each change: the next apply does the rest', async (t) => {
  told('2026-11-29T12:00:00.000Z', ...three());
  const whole = await withZone(t, BANS);
  await whole.apply();
  const cuts = whole.fake.changes.flatMap((change, at) =>
    /rules\/lists|firewall_custom/.test(change) ? [at + 1] : [],
  );
  t.is(cuts.length, 3);
  for (const cut of cuts) {
    const { fake, apply, names } = await withZone(t, BANS);
    let left = cut;
    fake.lose = () => --left <= 0;
    const api = cloudflare({ ...fake.env });
    api.maxRetries = 0;
    const context = await openZone(api, written(BANS));
    const plan = () => planZone(context);
    await t.throwsAsync(
      applyPlan(await plan(), plan, (_, change) => change()),
      { instanceOf: BuildError },
    );
    fake.lose = undefined;
    await apply();
    t.deepEqual(await names(), []);
    t.deepEqual(
      [...fake.lists.values()].map(({ items }) => items.map(({ ip }) => ip)),
      [[EVIL]],
      `cut ${cut}`,
    );
  }
});

test.serial(
  'an account without room for a list, and a file that isn’t ours, are said before anything changes',
  async (t) => {
    told('2026-11-29T12:00:00.000Z', ...three());
    const { fake, apply } = await withZone(t, BANS);
    fake.lists.set('theirs', { id: 'theirs', name: 'theirs', kind: 'ip', items: [] });
    await t.throwsAsync(apply(), { instanceOf: BuildError, message: /another list.*free/ });
    t.deepEqual(fake.changes, []);
    writeFileSync(bansFile(), '{}');
    const error = t.throws(readReports, { instanceOf: BuildError, message: /isn't what was written/ });
    t.is(error?.exitCode, EXIT.input);
  },
);
