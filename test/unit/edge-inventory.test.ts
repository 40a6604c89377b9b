import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { openCode } from '../../layers/06-cloudflare/edge/core/envelope.ts';
import { entrySchema, type LiveEntry } from '../../src/contract/edge.ts';
import { push, readInventory, slugsOf } from '../../src/edge/inventory.ts';
import { loadEdgeSecrets } from '../../src/edge/secrets.ts';
import { edgeFile } from '../../src/launch/places.ts';
import { BuildError, EXIT } from '../../src/process/errors.ts';

const work = mkdtempSync(join(tmpdir(), 'clawdy-inventory-'));
test.before(() => {
  process.env.XDG_CONFIG_HOME = work;
});
test.after.always(() => rmSync(work, { recursive: true, force: true }));

const CODE = 'A'.repeat(43);
const CERTIFICATE = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
const INVENTORY = `version: 1
proxy: https://auth.example.com
appsDomain: example.net
instances:
  alice: { instance: i-1, origin: { host: alice-origin.example.com, appsHost: alice-origin.example.net }, owner: alice@example.com, apps: [{ port: 3000, shares: [] }] }
  bob: { instance: i-2, origin: { host: 203.0.113.7, port: 8443 }, owner: bob@example.com }
`;

function written(text: string): string {
  const file = join(work, `edge-${Math.random().toString(36).slice(2)}.yaml`);
  writeFileSync(file, text);
  return file;
}

test.serial('the proxy’s keys are made once, for their owner alone', (t) => {
  const made = loadEdgeSecrets();
  t.deepEqual(loadEdgeSecrets(), made);
  chmodSync(edgeFile(), 0o640);
  const open = t.throws(loadEdgeSecrets, { instanceOf: BuildError, message: /others than you/ });
  t.is(open?.exitCode, EXIT.input);
  chmodSync(edgeFile(), 0o600);
  const kept = readFileSync(edgeFile());
  writeFileSync(edgeFile(), '{}');
  t.throws(loadEdgeSecrets, { instanceOf: BuildError, message: /isn't what was written/ });
  writeFileSync(edgeFile(), kept);
});

test.serial('an instance is pushed with its code sealed, revoked without, and what isn’t taken is said', async (t) => {
  const inventory = readInventory(written(INVENTORY));
  t.deepEqual([slugsOf(inventory, 'i-2'), slugsOf(inventory, 'i-3')], [['bob'], []]);
  const mine = loadEdgeSecrets();
  const asked: { url: string; init: RequestInit }[] = [];
  let answer = () => Response.json({}, { status: 201 });
  const ask = async (url: string | URL | Request, init: RequestInit = {}) => {
    asked.push({ url: String(url), init });
    return answer();
  };
  const sent = () => entrySchema.parse(JSON.parse(String(asked.at(-1)?.init.body)));
  const record = { gate_certificate: CERTIFICATE };
  await push(inventory, 'alice', record, CODE, mine, ask);
  t.is(asked[0]?.url, 'https://auth.example.com/.clawdy/registry/alice');
  const live = sent() as LiveEntry;
  t.like(live, { slug: 'alice', instanceId: 'i-1', owner: 'alice@example.com', shares: [], state: 'live' });
  const [host, appsHost] = ['alice-origin.example.com', 'alice-origin.example.net'];
  t.deepEqual(live.origin, { host, appsHost, port: 443, certificate: CERTIFICATE });
  t.is(await openCode(live, mine.secrets.keks), CODE);
  t.false(JSON.stringify(asked).includes(CODE));
  await push(inventory, 'alice', record, null, mine, ask);
  t.like(sent(), { slug: 'alice', state: 'revoked' });
  t.true(sent().revision >= live.revision);

  const refused = (message: RegExp) =>
    t.throwsAsync(push(inventory, 'bob', record, CODE, mine, ask), { instanceOf: BuildError, message });
  answer = () => Response.json({ error: 'stale' }, { status: 409 });
  await refused(/doesn't take bob: 409 \{"error":"stale"\}/);
  answer = () => {
    throw new TypeError('fetch failed', { cause: new Error('ECONNREFUSED') });
  };
  const gone = await refused(/fetch failed: ECONNREFUSED/);
  t.false(`${gone?.message}${gone?.hint}`.includes(mine.token));
  await t.throwsAsync(push(inventory, 'carol', record, CODE, mine, ask), { message: /no instance has the slug carol/ });
  await t.throwsAsync(push(inventory, 'bob', { gate_certificate: null }, CODE, mine, ask), { message: /bob: / });
});

test('an inventory that won’t do names its line', (t) => {
  for (const [from, to, message] of [
    ['owner: bob', 'ownr: bob', /:6: instances.bob.ownr/],
    ['port: 3000', 'port: 7860', /isn't a port of an app/],
    ['https://auth', 'http://auth', /:2: proxy/],
    ['bob@example.com', '"b b"', /owner/],
    ['origin.example.net', 'origin.example.org', /:5: instances.alice.origin.appsHost isn't below example.net/],
  ] as const)
    t.throws(() => readInventory(written(INVENTORY.replace(from, to))), { instanceOf: BuildError, message });
});
