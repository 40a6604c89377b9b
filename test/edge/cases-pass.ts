import { createHash, randomBytes } from 'node:crypto';
import test from 'ava';
import type { Echo } from '../fakes/gate.ts';
import { here } from './cases.ts';
import { signedIn } from './sign-in.ts';
import { APPS_DOMAIN, MODES, UI_DOMAIN } from './world.ts';

const header = ({ headers }: Echo, name: string) => headers.filter(([one]) => one === name).map(([, value]) => value);

/** Requests and their answers. */
export function passCases(): void {
  for (const mode of MODES) {
    test.serial(`${mode}: an instance gets what was sent, and who sends it, and nothing that was faked`, async (t) => {
      const { world } = here;
      const { slug } = await world.instance(mode);
      const host = `${slug}.${UI_DOMAIN}`;
      const who = await signedIn(world, mode, host);
      const fakes = {
        ...{
          'x-clawdy-code': ['a', 'b'],
          'x-clawdy-user': 'eve',
          'x-clawdy-port': '22',
          'x-forwarded-host': 'evil.test',
        },
        ...{
          'cf-connecting-ip': '192.0.2.1',
          'x-openclaw-user': 'eve',
          x_clawdy_user: 'eve',
          forwarded: 'host=evil.test',
        },
        ...{ connection: 'x-clawdy-user, x-clawdy-code', 'cf-access-authenticated-user-email': 'eve@example.com' },
      };
      const cookie = ['a=1', 'cookie' in who ? who.cookie : 'CF_Authorization=token', 'b=2'].join('; ');
      const headers = { ...who, ...fakes, cookie, 'x-own': 'kept' };
      const { status, text } = await world.call(mode, host, '/a%20b/?q=%2F&&x=1', { headers });
      t.is(status, 200, text);
      const echo = JSON.parse(text) as Echo;
      t.like(echo, { instance: slug, method: 'GET', path: '/a%20b/?q=%2F&&x=1', bytes: 0 });
      t.deepEqual(header(echo, 'x-clawdy-user'), ['owner@example.com']);
      t.deepEqual([header(echo, 'x-own'), header(echo, 'cookie')], [['kept'], ['a=1; b=2']]);
      t.deepEqual(header(echo, 'host'), [`${host}:${world.ports[mode]}`]);
      const names = echo.headers.map(([name]) => name);
      for (const name of names) t.notRegex(name, /^(cf-|x-forwarded|forwarded|x-openclaw|x-clawdy-(?!user))|_/);
      t.notRegex(JSON.stringify(echo.headers), /\beve\b|evil|eyJ|__Host-clawdy|CF_Auth/);
    });
  }

  test.serial('an app is reached on its port, by whom it is shared with; reserved ports never', async (t) => {
    const { world } = here;
    const { slug } = await world.instance('access');
    const get = async (port: number, user: string) => {
      const host = `${port}--${slug}.${APPS_DOMAIN}`;
      return world.call('access', host, '/', { headers: await signedIn(world, 'access', host, user) });
    };
    const echo = JSON.parse((await get(3000, 'cleo@example.com')).text) as Echo;
    t.deepEqual([header(echo, 'x-clawdy-port'), header(echo, 'x-clawdy-user')], [['3000'], ['cleo@example.com']]);
    t.is((await get(4000, 'owner@example.com')).status, 200);
    t.is((await get(4000, 'cleo@example.com')).status, 403);
    t.is((await get(3000, 'ben@example.com')).status, 403, 'who shares the instance has no apps');
    const before = world.gate.seen.length;
    for (const port of [22, 443, 7860, 7862, 20_000, 32_767]) t.is((await get(port, 'owner@example.com')).status, 403);
    t.is(world.gate.seen.length, before, 'the gate wasn’t asked');
  });

  test.serial('uploads and downloads go through as they are', async (t) => {
    const { world } = here;
    const { slug } = await world.instance('access');
    const host = `${slug}.${UI_DOMAIN}`;
    const origin = `https://${host}:${world.ports.access}`;
    const headers = { ...(await signedIn(world, 'access', host)), origin };
    const body = randomBytes(8 * 1024 * 1024);
    const sha256 = createHash('sha256').update(body).digest('hex');
    for (const framing of [{ 'content-length': body.length }, { 'transfer-encoding': 'chunked' }]) {
      const asking = { method: 'POST', headers: { ...headers, ...framing }, body };
      const answer = await world.call('access', host, '/upload', asking);
      t.like(JSON.parse(answer.text), { bytes: body.length, sha256 });
    }
    const gzip = await world.call('access', host, '/gzip', { headers: { ...headers, 'accept-encoding': 'gzip' } });
    t.is(gzip.headers['content-encoding'], 'gzip');
    const { gunzipSync } = await import('node:zlib');
    t.is(gunzipSync(gzip.bytes).toString(), 'squeezed '.repeat(500));
  });

  test.serial('server-sent events come as they are said', async (t) => {
    const { world } = here;
    const { slug } = await world.instance('access');
    const host = `${slug}.${UI_DOMAIN}`;
    const times: number[] = [];
    const piece = () => times.push(performance.now());
    const headers = await signedIn(world, 'access', host);
    const { text } = await world.call('access', host, '/sse', { headers, piece });
    t.is(text, 'data: 0\n\ndata: 1\n\ndata: 2\n\n');
    t.true(times.length >= 3 && (times.at(-1) as number) - (times[0] as number) > 250, 'not all at the end');
  });

  test.serial('answers: redirects and cookies as they are, nothing for shared caches, nothing of ours', async (t) => {
    const { world } = here;
    const { slug } = await world.instance('access');
    const host = `${slug}.${UI_DOMAIN}`;
    const headers = await signedIn(world, 'access', host);
    const get = (path: string) => world.call('access', host, path, { headers });
    const redirect = await get('/redirect');
    t.deepEqual([redirect.status, redirect.headers.location], [302, 'https://elsewhere.test/']);
    t.deepEqual(redirect.headers['set-cookie'], ['a=1; Path=/', 'b=2']);
    t.is(redirect.headers['cache-control'], 'private, no-store');
    const shared = (await get('/public')).headers;
    t.deepEqual([shared['cache-control'], shared.vary], ['private, max-age=60', 'Accept, Cookie']);
    const wicked = (await get('/wicked')).headers;
    t.deepEqual(wicked['set-cookie'], ['kept=1; Path=/']);
    for (const name of ['x-clawdy-user', 'alt-svc', 'cdn-cache-control']) t.is(wicked[name], undefined, name);
    // What one got another isn't given: neither runtime keeps anything.
    const seen = world.gate.seen.length;
    await get('/public');
    t.is(world.gate.seen.length, seen + 1);
  });

  test.serial('pages for a person, words for a program, when the instance isn’t there for them', async (t) => {
    const { world } = here;
    const { slug } = await world.instance('access');
    const host = `${slug}.${UI_DOMAIN}`;
    const headers = await signedIn(world, 'access', host);
    const expected: [string, number, string][] = [
      ['/starting', 503, 'starting'],
      ['/app-unreachable', 502, 'app_unreachable'],
    ];
    for (const [path, status, word] of expected) {
      const program = await world.call('access', host, path, { headers });
      t.deepEqual([program.status, program.text], [status, JSON.stringify({ error: word })]);
      const person = await world.call('access', host, path, { headers: { ...headers, accept: 'text/html' } });
      t.is(person.status, status);
      t.regex(person.text, /^<!doctype html>/);
      t.regex(String(person.headers['content-security-policy']), /default-src 'none'/);
      t.is(person.headers['cache-control'], 'no-store');
    }
    const entryless = `nobody-here.${UI_DOMAIN}`;
    const notYours = await world.call('access', entryless, '/', { headers });
    const foreign = await world.call('access', host, '/', {
      headers: await signedIn(world, 'access', host, 'eve@a.test'),
    });
    t.deepEqual(
      [notYours.status, notYours.text],
      [foreign.status, foreign.text],
      'nobody learns which instances exist',
    );
  });
}
