import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createTcp } from 'node:net';
import { Readable } from 'node:stream';
import { inspect } from 'node:util';
import test from 'ava';
import library from 'hcloud-js';
import type { Cloud } from '../../src/clouds/cloud.ts';
import { openCloud } from '../../src/clouds/find.ts';
import { HetznerApi } from '../../src/clouds/hetzner/api.ts';
import { HetznerClient } from '../../src/clouds/hetzner/client.ts';
import { HetznerError, judge } from '../../src/clouds/hetzner/errors.ts';
import { settings } from '../../src/clouds/hetzner/settings.ts';
import { runsOf } from '../../src/clouds/hetzner/upload.ts';
import { findSshPort } from '../../src/launch/ssh-port.ts';
import { type BuildError, EXIT } from '../../src/process/errors.ts';
import { feed } from '../../src/process/run.ts';
import { type FakeHetzner, startFakeHetzner } from '../fakes/hetzner/index.ts';
import { fails, openFake, tellsNothing } from './hetzner-job.ts';

// The adapter over hcloud-js, without a server that anything is written to.

let fake: FakeHetzner;
test.before(async () => {
  fake = await startFakeHetzner();
});
test.after.always(() => fake.close());
test.beforeEach(() => {
  fake.fault = undefined;
  fake.failAction = undefined;
});

const list = async (env = {}) => (await openFake(fake, env)).list('fsn1');

test.serial('the settings: what is missing or wrong is said, the token never', (t) => {
  const input = { instanceOf: Error, message: /HCLOUD_TOKEN is not set/ };
  t.is((t.throws(() => settings({}), input) as BuildError).exitCode, EXIT.input);
  const HCLOUD_TOKEN = 'secret-token';
  const wrong = [
    { HCLOUD_TOKEN: 'secret-token\n' },
    { HCLOUD_TOKEN, HCLOUD_ENDPOINT: 'http://api.example/v1' },
    { HCLOUD_TOKEN, HCLOUD_ENDPOINT: 'https://user:secret-token@api.example/v1' },
    { HCLOUD_TOKEN, HCLOUD_ENDPOINT: 'ftp' },
    { HCLOUD_TOKEN, HCLOUD_POLL_INTERVAL: '5 minutes' },
    { HCLOUD_TOKEN, HCLOUD_POLL_INTERVAL: '0s' },
  ];
  for (const env of wrong) {
    const error = t.throws(() => settings(env)) as BuildError;
    t.is(error.exitCode, EXIT.input);
    t.false(inspect(error, { depth: 10 }).includes('secret-token'), inspect(error));
  }
  t.like(settings({ HCLOUD_TOKEN, HCLOUD_POLL_INTERVAL: '1.5s' }), {
    endpoint: 'https://api.hetzner.cloud/v1',
    pollMs: 1500,
  });
});

test.serial('one region, by its name', async (t) => {
  await openFake(fake);
  t.deepEqual((await openCloud('hetzner', { regions: ['hel1'] })).regions, ['hel1']);
  const two = await t.throwsAsync(openCloud('hetzner', { regions: ['fsn1', 'nbg1'] }));
  t.is((two as BuildError).exitCode, EXIT.input);
  await t.throwsAsync(openCloud('hetzner', { regions: ['eu-central-1/../x'] }), { message: /no location/ });
  const cloud = await openFake(fake);
  await t.throwsAsync(cloud.copy({} as never, {} as never), { message: /every location/ });
});

test.serial('hcloud-js alone: why there is an adapter', async (t) => {
  const { HCLOUD_TOKEN: token = '', HCLOUD_ENDPOINT: baseURL = '' } = fake.env;
  const bare = new library.Client({ token, baseURL, timeout: 5000 });
  await post('/servers', { name: 'there', server_type: 'cx23', image: 'debian-13', start_after_create: false });
  await t.throwsAsync(bare.servers.list({}), { instanceOf: TypeError });
  const nobody = new library.Client({ token, baseURL: 'http://127.0.0.1:9', timeout: 5000 });
  const error = await t.throwsAsync(nobody.actions.get(1));
  t.true(inspect(error, { depth: 10 }).includes(token), 'so the scan below can find it');

  const api = new HetznerApi(new HetznerClient({ token, endpoint: baseURL, answerMs: 5000 }), {
    pollMs: 5,
    limitMs: 5000,
  });
  t.like(await api.servers(), [{ name: 'there', image: { id: 1002 } }]);
  const silent = new HetznerClient({ token, endpoint: 'http://127.0.0.1:9', answerMs: 5000 });
  for (const call of [silent.library.actions.get(1), silent.send('GET', '/images'), silent.library.servers.get(1)]) {
    const clean = await t.throwsAsync(call, { instanceOf: HetznerError, message: /ECONNREFUSED/ });
    t.false(inspect(clean, { depth: 10, showHidden: true }).includes(token));
  }
  t.false(inspect(api, { depth: 10, showHidden: true }).includes(token));
});

test.serial('wrong credentials and limits end at once, as a person’s to mend', async (t) => {
  const wrong = await fails(t, fake, list({ HCLOUD_TOKEN: 'deadbeef' }));
  t.is(wrong.exitCode, EXIT.input);
  t.regex(wrong.message, /unauthorized/);
  const before = fake.calls.length;
  for (const code of ['forbidden', 'token_readonly', 'invalid_input', 'resource_limit_exceeded', 'uniqueness_error']) {
    let asked = 0;
    fake.fault = (name) => {
      if (name === 'GET /servers') return undefined;
      asked++;
      return { kind: 'error', status: 403, code, message: 'no' };
    };
    t.regex((await fails(t, fake, list())).message, new RegExp(code));
    t.is(asked, 1, code);
  }
  t.true(fake.calls.length >= before);
});

test.serial('nobody there, a gateway that stays broken, answers that never come: a clear end', async (t) => {
  const quick = { HCLOUD_POLL_INTERVAL: '2ms' };
  const began = Date.now();
  const refused = await fails(t, fake, list({ HCLOUD_ENDPOINT: 'http://127.0.0.1:9/v1', ...quick }));
  t.regex(refused.message, /no answer: ECONNREFUSED/);
  t.true(Date.now() - began < 20_000);
  const body = '<html><head><title>502 Bad Gateway</title></head></html>';
  fake.fault = () => ({ kind: 'raw', status: 502, body, headers: { 'content-type': 'text/html' } });
  const gateway = await fails(t, fake, list(quick));
  t.regex(gateway.message, /HTTP 502/);
  t.false(gateway.message.includes('<html>'));
  fake.fault = () => ({ kind: 'raw', status: 200, body, headers: { 'content-type': 'text/html' } });
  t.regex((await fails(t, fake, list(quick))).message, /not JSON/);
  fake.fault = () => ({ kind: 'stall' });
  t.regex((await fails(t, fake, list({ HCLOUD_HTTP_TIMEOUT: '50ms', ...quick }))).message, /no answer in time/);
});

test.serial('an answer of another form names the members, not the values', async (t) => {
  const body = JSON.stringify({ images: [{ id: 'root-password' }], meta: { pagination: { next_page: null } } });
  fake.fault = (name) =>
    name === 'GET /images'
      ? { kind: 'raw', status: 200, body, headers: { 'content-type': 'application/json' } }
      : undefined;
  const error = await fails(t, fake, list());
  t.regex(error.message, /images\.0\.id/);
  t.false(inspect(error, { depth: 10 }).includes('root-password'));
});

test.serial('429 waits as long as it says', async (t) => {
  let times = 0;
  const headers = { 'content-type': 'application/json', 'retry-after': '1' };
  const body = JSON.stringify({ error: { code: 'rate_limit_exceeded', message: 'limit', details: {} } });
  fake.fault = (name) =>
    name === 'GET /images' && times++ === 0 ? { kind: 'raw', status: 429, body, headers } : undefined;
  const began = Date.now();
  t.deepEqual(await list(), []);
  t.true(Date.now() - began >= 1000, `${Date.now() - began} ms`);
});

test.serial('the token isn’t sent to where an answer points', async (t) => {
  const seen: (string | undefined)[] = [];
  const elsewhere = createServer((request, response) => {
    seen.push(request.headers.authorization);
    response.end('{}');
  }).listen(0, '127.0.0.1');
  await once(elsewhere, 'listening');
  const location = `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}/`;
  const redirecting = createServer((_, response) => response.writeHead(302, { location }).end()).listen(0, '127.0.0.1');
  await once(redirecting, 'listening');
  const endpoint = `http://127.0.0.1:${(redirecting.address() as AddressInfo).port}`;
  const client = new HetznerClient({ token: 'secret', endpoint, answerMs: 2000 });
  await t.throwsAsync(client.send('GET', '/servers'), { message: /HTTP 302/ });
  t.deepEqual(seen, []);
  elsewhere.close();
  redirecting.close();
});

test.serial('what is tried again, and what isn’t', (t) => {
  const again = (code: string, status: number) => judge(new HetznerError(code, code, status)).again;
  for (const code of ['rate_limit_exceeded', 'conflict', 'locked', 'service_error', 'maintenance'])
    t.true(again(code, 409));
  for (const [code, status] of [
    ['http_502', 502],
    ['ECONNRESET', 0],
    ['http_429', 429],
  ] as const)
    t.true(again(code, status));
  for (const code of ['unauthorized', 'forbidden', 'invalid_input', 'uniqueness_error', 'not_found', 'action_failed'])
    t.false(again(code, 422), code);
  t.false(judge(new TypeError('ours')).again);
});

test.serial('doctor and prices read, and change nothing', async (t) => {
  const cloud: Cloud = await openFake(fake);
  const before = fake.calls.length;
  const checks = await cloud.doctor();
  t.true(
    checks.every(({ ok }) => ok),
    inspect(checks),
  );
  const image = { id: 'x', base: 'debian-13', created: '', rawSha256: '0'.repeat(64), rawSize: 4e9 };
  const prices = await cloud.price(image, { sent: 0, held: 1e9 });
  t.deepEqual(
    prices.map(({ amount, currency, per }) => [amount.toFixed(4), currency, per]),
    [
      ['0.0110', 'EUR', 'month'],
      ['0.0128', 'EUR', 'once'],
    ],
  );
  t.true(fake.calls.slice(before).every((name) => name.startsWith('GET ')));
  tellsNothing(t, fake, JSON.stringify([checks, prices]));
  const bad = await (await openFake(fake, { HCLOUD_TOKEN: 'deadbeef' })).doctor();
  t.like(bad, [{ ok: false }, { ok: false }, { ok: true }]);
});

test.serial('runs of blocks: neighbours together, the last one cut to the disk', (t) => {
  const block = 512 * 1024;
  t.deepEqual(runsOf({ blocks: { 0: 'a', 1: 'b', 3: 'c' }, size: 3 * block + 10 }), [
    { first: 0, count: 2, bytes: 2 * block },
    { first: 3, count: 1, bytes: 10 },
  ]);
});

test.serial('a port is found by how SSH begins, and nothing else', async (t) => {
  const speak = (text: string) => createTcp((socket) => void socket.on('error', () => {}).write(text));
  const ssh = speak('SSH-2.0-x\r\n').listen(20_123, '127.0.0.1');
  const web = speak('HTTP/1.1 400\r\n').listen(20_122, '127.0.0.1');
  await Promise.all([once(ssh, 'listening'), once(web, 'listening')]);
  t.is(await findSshPort('127.0.0.1'), 20_123);
  ssh.close();
  await once(ssh, 'close');
  t.is(await findSshPort('127.0.0.1'), undefined);
  web.close();
});

test.serial('a stream is pumped no faster than it is read, and its end is told', async (t) => {
  const mib = Buffer.alloc(1024 * 1024, 7);
  async function* gigabyte() {
    for (let count = 0; count < 1024; count++) yield mib;
  }
  const before = process.memoryUsage().rss;
  let most = 0;
  const timer = setInterval(() => (most = Math.max(most, process.memoryUsage().rss)), 20);
  const source = Readable.from(gigabyte(), { objectMode: false });
  const { stdout } = await feed('sh', ['-c', 'wc -c'], source, { step: 'feed', stallMs: 20_000 });
  clearInterval(timer);
  t.is(stdout.trim(), String(1024 ** 3));
  t.true(most - before < 200 * 1024 * 1024, `${Math.round((most - before) / 1e6)} MB`);
  const few = () => Readable.from([Buffer.from('x'), mib], { objectMode: false });
  await t.throwsAsync(feed('sh', ['-c', 'echo why >&2; exit 3'], few(), { step: 'feed', stallMs: 5000 }), {
    message: /exited with 3/,
  });
  await t.throwsAsync(feed('sleep', ['60'], few(), { step: 'feed', stallMs: 300 }), { message: /took nothing/ });
  await t.throwsAsync(feed('no-such-program', [], few(), { step: 'feed', stallMs: 300 }), { message: /not installed/ });
  async function* broken(): AsyncGenerator<Buffer> {
    yield mib;
    throw new Error('the disk ended');
  }
  const stream = Readable.from(broken(), { objectMode: false });
  await t.throwsAsync(feed('cat', [], stream, { step: 'feed', stallMs: 5000 }), { message: /the disk ended/ });
});

async function post(path: string, body: unknown): Promise<void> {
  const headers = { authorization: `Bearer ${fake.env.HCLOUD_TOKEN}`, 'content-type': 'application/json' };
  await fetch(`${fake.env.HCLOUD_ENDPOINT}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
}
