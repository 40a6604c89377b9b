import test from 'ava';
import { cookieForBrowser, cookiesForOrigin, readCookie } from '../../layers/06-cloudflare/edge/core/cookies.ts';
import { openCode, sealEntry } from '../../layers/06-cloudflare/edge/core/envelope.ts';
import { headersForBrowser, headersForGate } from '../../layers/06-cloudflare/edge/core/headers.ts';
import { backPath } from '../../layers/06-cloudflare/edge/core/paths.ts';
import { placeOf } from '../../layers/06-cloudflare/edge/core/place.ts';
import { foreign } from '../../layers/06-cloudflare/edge/core/provenance.ts';
import { type Kind, open, seal } from '../../layers/06-cloudflare/edge/core/sealed.ts';
import { edgeConfigSchema, type Facts, factsSchema, isAppPort } from '../../src/contract/edge.ts';
import { APP, CODE, FACTS, key32, memoryEdge, UI } from './edge-fixture.ts';

const config = edgeConfigSchema.parse({
  ...{ uiDomain: 'clawdy.test', appsDomain: 'clawdyapps.test' },
  signIn: { mode: 'oidc', issuer: 'https://issuer.test', clientId: 'c' },
});

test('a host name leads to one place, written in one way', (t) => {
  const kind = (url: string) => placeOf(new URL(url), config)?.kind;
  t.like(placeOf(new URL(`${UI}/x`), config), { kind: 'ui', slug: 'anna', host: 'anna.clawdy.test' });
  t.like(placeOf(new URL(`${APP}/x`), config), { kind: 'app', slug: 'anna', port: 3000 });
  t.is(kind('https://auth.clawdy.test/'), 'auth');
  for (const port of [7860, 7869, 20_000, 32_767, 22, 443, 65_536])
    t.is(kind(`https://${port}--anna.clawdyapps.test/`), 'reserved', `${port}`);
  const none = [
    ...['http://anna.clawdy.test/', 'https://anna.clawdy.test./', 'https://anna.clawdy.test:8443/'],
    ...['https://eve@anna.clawdy.test/', 'https://anna.clawdy.test.evil.test/', 'https://evil-clawdy.test/'],
    ...['https://clawdy.test/', 'https://a.anna.clawdy.test/', 'https://www.clawdy.test/', 'https://127.0.0.1/'],
    ...['https://3000--anna.clawdy.test/', 'https://anna.clawdyapps.test/', 'https://03000--anna.clawdyapps.test/'],
    ...['https://3000--a--b.clawdyapps.test/', 'https://3000--auth.clawdyapps.test/'],
  ];
  for (const url of none) t.is(kind(url), undefined, url);
  t.false(isAppPort(3000.5));
});

test('apps are of another registrable domain', (t) => {
  const domains = (uiDomain: string, appsDomain: string) =>
    edgeConfigSchema.safeParse({ ...config, uiDomain, appsDomain }).success;
  t.true(domains('clawdy.test', 'clawdyapps.test'));
  for (const apps of ['clawdy.test', 'apps.clawdy.test']) t.false(domains('clawdy.test', apps), apps);
  t.false(domains('ui.clawdy.test', 'apps.clawdy.test'));
});

test('the way back is a path of the same host', (t) => {
  for (const path of ['/', '/a/b?c=d&e=%2F', '/x?to=https://elsewhere.test/']) t.is(backPath(path), path);
  const evil = [
    ...[null, '', 'https://evil.test/', '//evil.test', '/\\evil.test', '\\\\evil.test', 'javascript:alert(1)', 'evil'],
    ...['/\t/evil.test', '/\n/evil.test', '/.//evil.test', '/a/..//evil.test', '/%2e//evil.test', '/\u0000', '/é'],
    ...['/a b', '/\\', '/.clawdy/login', '/./.clawdy/logout', `/${'a'.repeat(2048)}`, '/\r\nset-cookie: a=b'],
  ];
  for (const path of evil) t.is(backPath(path), '/', JSON.stringify(path));
});

test('whatever could fake code, user, port or address stays behind', (t) => {
  const fakes = [
    ...['x-clawdy-code', 'X-Clawdy-User', 'x-clawdy-port', 'x-clawdy-anything', 'x_clawdy_user', 'cf-connecting-ip'],
    ...['cf-access-jwt-assertion', 'cf-access-authenticated-user-email', 'x-forwarded-for', 'x-forwarded-host'],
    ...['forwarded', 'via', 'x-real-ip', 'true-client-ip', 'cdn-loop', 'x-openclaw-user', 'x-original-url', 'te'],
    ...[
      'upgrade',
      'keep-alive',
      'proxy-authorization',
      'trailer',
      'transfer-encoding',
      'expect',
      'x-named-by-connection',
    ],
    ...['x-http-method-override', 'x-rewrite-url', 'x-host', 'sec-websocket-extensions'],
  ];
  const from = new Headers({ accept: 'text/html', 'x-own': '1', connection: 'close, X-Named-By-Connection' });
  for (const name of fakes) from.append(name, 'faked');
  from.set('cookie', 'a=1; __Host-clawdy=session; CF_Authorization=token; __host-clawdy-login=x; b="2; 3"');
  const headers = headersForGate(from, CODE, 'anna@example.com', 3000);
  t.deepEqual(Object.fromEntries(headers), {
    ...{ accept: 'text/html', 'x-own': '1', cookie: 'a=1; b="2; 3"' },
    ...{ 'x-clawdy-code': CODE, 'x-clawdy-user': 'anna@example.com', 'x-clawdy-port': '3000' },
  });
  t.false(headersForGate(from, CODE, 'anna@example.com').has('x-clawdy-port'));
  t.is(cookiesForOrigin('__Host-clawdy=x'), undefined);
  t.is(readCookie(new Headers({ cookie: '__Host-clawdy=a; __Host-clawdy=b' }), '__Host-clawdy'), undefined);
});

test('an instance sets no cookie of ours or for other hosts, and no shared cache keeps what it says', (t) => {
  t.is(cookieForBrowser('a=1; DOMAIN = clawdyapps.test; Path=/'), 'a=1; Path=/');
  for (const cookie of ['__Host-clawdy=x', '__HOST-CLAWDY=x', ' __Host-clawdy =x', '=__Host-clawdy=x', '__Host-clawdy'])
    t.is(cookieForBrowser(cookie), undefined, cookie);
  const said = (init: Record<string, string>) => headersForBrowser(new Headers(init));
  t.is(said({}).get('cache-control'), 'private, no-store');
  t.is(said({ 'cache-control': 'public, max-age=5, s-maxage=9' }).get('cache-control'), 'private, max-age=5');
  t.is(said({ vary: 'Accept' }).get('vary'), 'Accept, Cookie');
  t.is(said({ vary: '*' }).get('vary'), '*');
  const gone = ['x-clawdy-code', 'alt-svc', 'cdn-cache-control', 'connection', 'transfer-encoding'];
  for (const name of gone) t.false(said({ [name]: 'x' }).has(name), name);
});

test('other sites’ pages act for nobody', (t) => {
  const own = UI;
  const judged = (method: string, headers: Record<string, string>) =>
    foreign(new Request(`${UI}/`, { method, headers }), own);
  const navigated = { 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' };
  const passes: [string, Record<string, string>][] = [
    ['GET', {}],
    ['GET', { 'sec-fetch-site': 'none', ...navigated }],
    ['GET', { 'sec-fetch-site': 'cross-site', ...navigated }],
    ['GET', { 'sec-fetch-site': 'same-origin', 'sec-fetch-mode': 'cors' }],
    ['POST', { origin: own }],
    ['DELETE', { origin: own, 'sec-fetch-site': 'same-origin' }],
    ['GET', { origin: own, upgrade: 'websocket' }],
    ['POST', { origin: 'null', 'sec-fetch-site': 'same-origin' }],
  ];
  for (const [method, headers] of passes) t.is(judged(method, headers), undefined, JSON.stringify([method, headers]));
  const refused: [string, Record<string, string>][] = [
    ['POST', {}],
    ['POST', { origin: 'null' }],
    ['POST', { origin: 'null', 'sec-fetch-site': 'cross-site' }],
    ['GET', { origin: 'null', 'sec-fetch-site': 'same-origin', upgrade: 'websocket' }],
    ['POST', { origin: 'https://evil.test' }],
    ['POST', { origin: `${own}:444` }],
    ['POST', { origin: own.replace('https', 'http') }],
    ['POST', { origin: `${own}.evil.test` }],
    ['POST', { origin: own, 'sec-fetch-site': 'cross-site', ...navigated }],
    ['GET', { origin: 'https://evil.test' }],
    ['GET', { 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'image' }],
    ['GET', { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'iframe' }],
    ['GET', { upgrade: 'websocket' }],
    ['OPTIONS', {}],
    ['GET', { upgrade: 'websocket', origin: APP }],
  ];
  for (const [method, headers] of refused) t.truthy(judged(method, headers), JSON.stringify([method, headers]));
});

test('what is sealed opens for its kind, its host and its time', async (t) => {
  const ring = [{ id: 'one', key: key32() }];
  const sealed = await seal(ring, 'session', 'anna.clawdy.test', { user: 'anna@example.com' }, 1000, 60);
  const opened = (kind: Kind, host: string, now: number, keys = ring) => open(keys, kind, host, sealed, now);
  t.like(await opened('session', 'anna.clawdy.test', 1059), { user: 'anna@example.com', expires: 1060 });
  t.is(await opened('session', 'anna.clawdy.test', 1060), undefined);
  t.is(await opened('ticket', 'anna.clawdy.test', 1001), undefined);
  t.is(await opened('session', 'ben.clawdy.test', 1001), undefined);
  t.is(await opened('session', 'anna.clawdy.test', 1001, [{ id: 'one', key: key32() }]), undefined);
  t.truthy(await opened('session', 'anna.clawdy.test', 1001, [{ id: 'two', key: key32() }, ...ring]));
  t.false(Buffer.from(sealed.split('.').join(''), 'base64url').includes('anna@example.com'));
});

test('an entry’s code opens with its key and the very facts that it was sealed with', async (t) => {
  const keks = [{ id: 'one', key: key32() }];
  const entry = await sealEntry(FACTS, CODE, keks);
  t.is(await openCode(entry, keks), CODE);
  t.is(await openCode(JSON.parse(JSON.stringify({ code: entry.code, ...factsSchema.parse(FACTS) })), keks), CODE);
  t.is(await openCode(entry, [{ id: 'two', key: key32() }, ...keks]), CODE, 'while the key changes');
  t.false(JSON.stringify(entry).includes(CODE));
  const changes: Partial<Facts>[] = [
    ...[
      { slug: 'eve' },
      { owner: 'eve@example.com' },
      { shares: [...FACTS.shares, 'eve@example.com'] },
      { revision: 2 },
    ],
    ...[{ origin: { ...FACTS.origin, host: 'evil.test' } }, { instanceId: 'i-2' }, { apps: [] }],
  ];
  for (const change of changes)
    await t.throwsAsync(openCode({ ...entry, ...change }, keks), undefined, JSON.stringify(change));
  await t.throwsAsync(openCode(entry, [{ id: 'one', key: key32() }]));
  await t.throwsAsync(openCode(entry, [{ id: 'three', key: key32() }]), { message: /isn't known/ });
  await t.throwsAsync(sealEntry(FACTS, 'short', keks));
});

test('methods and bodies that could become another request are refused', async (t) => {
  const edge = await memoryEdge();
  const headers = { 'cf-access-jwt-assertion': await edge.token() };
  t.is((await edge.handle(`${UI}/`, { headers: { ...headers, 'content-length': '0' } })).status, 200);
  t.is((await edge.handle(`${UI}/`, { headers: { ...headers, 'content-length': '5' } })).status, 400);
  t.is((await edge.handle(`${UI}/`, { headers: { ...headers, 'transfer-encoding': 'chunked' } })).status, 400);
  t.is(edge.asked.length, 1);
});

test('a registry that can’t be read, a gate that can’t be reached: a page, and a line without secrets', async (t) => {
  const edge = await memoryEdge();
  const headers = { 'cf-access-jwt-assertion': await edge.token(), accept: 'text/html' };
  edge.runtime.ask = async () => {
    throw Object.assign(new Error(`secret ${CODE}`), { code: 'ECONNREFUSED' });
  };
  const answer = await edge.handle(`${UI}/`, { headers });
  t.is(answer.status, 502);
  t.regex(await answer.text(), /<h1>Unreachable<\/h1>/);
  t.regex(edge.logged.join(), /"unreachable".*ECONNREFUSED/);
  edge.runtime.registry.get = async () => JSON.parse('{');
  t.is((await edge.handle(`${UI}/`, { headers })).status, 500);
  t.false(edge.logged.join().includes(CODE));
});
