import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import test from 'ava';
import type { WebSocket } from 'ws';
import type { Place } from './proxy.ts';
import { type Answer, type Asked, type Scene, until, withScene } from './scene.ts';

// What an auth proxy owes, whichever place it runs in. Each attack stands beside the same request without it, which gets through.

const PAGE = { accept: 'text/html', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' };
const cookieIn = ({ headers }: Answer, name: string) =>
  headers['set-cookie']?.find((one) => one.startsWith(`${name}=`))?.split(';')[0];
const pathOf = (location = '') => location.replace(/^https:\/\/[^/]+/, '');
const hostOf = (location = '') => new URL(location).host;

/** What the gate got last. */
const got = ({ gate }: Scene) => Object.fromEntries(gate.seen.at(-1)?.headers ?? []);

/** Somebody signs in by Access: its header on every request. */
async function signed(
  { ask, issuer, host }: Scene,
  path: string,
  options: Asked & { claims?: object; to?: string } = {},
): Promise<Answer> {
  const token = await issuer.access({ ...options.claims });
  return ask(options.to ?? host('alice'), path, {
    ...options,
    headers: { 'cf-access-jwt-assertion': token, ...options.headers },
  });
}

async function closed(socket: WebSocket): Promise<{ code: number; reason: string }> {
  const [code, reason] = (await once(socket, 'close')) as [number, Buffer];
  return { code, reason: reason.toString() };
}

/** Everything that came back, as one text. */
const bytesOf = ({ headers, text }: Answer) => `${JSON.stringify(headers)}${text}`;

export function declare(place: Place): void {
  test(`${place}: the owner gets through with the code and their name, and nobody sees the code`, (t) =>
    withScene(place, 'access', async (scene) => {
      const { gate, host, ask } = scene;
      const answer = await signed(scene, '/echo?a=1&b=%2F..', {
        headers: { cookie: 'mine=1; CF_Authorization=x; __Host-clawdy=y' },
      });
      t.is(answer.status, 200, answer.text + scene.log());
      const { line, headers } = JSON.parse(answer.text);
      t.is(line, 'GET /echo?a=1&b=%2F..');
      const sent = Object.fromEntries(headers);
      t.like(sent, { 'x-clawdy-code': gate.code, 'x-clawdy-user': 'owner@example.com', cookie: 'mine=1' });
      t.is(sent['x-clawdy-port'], undefined);
      t.false(answer.text.includes('eyJ'), 'nor the session');
      t.is(answer.headers['cache-control'], 'private, no-cache');

      const out = await signed(scene, '/cookies');
      t.is(out.status, 302);
      t.is(out.headers.location, 'https://elsewhere.example/', 'a redirect is the browser’s to follow');
      t.deepEqual(out.headers['set-cookie'], ['one=1; Path=/', 'two=2; HttpOnly']);
      t.regex(String(out.headers['cache-control']), /private/);
      t.false(bytesOf(out).includes(gate.code));

      const body = randomBytes(3_000_000);
      const uploaded = await signed(scene, '/upload', {
        method: 'POST',
        body,
        headers: { origin: `https://${host('alice')}` },
      });
      t.deepEqual(JSON.parse(uploaded.text), {
        bytes: body.length,
        sha256: createHash('sha256').update(body).digest('hex'),
      });
      const stream = await signed(scene, '/stream');
      t.true((stream.parts.at(-1) as number) - (stream.parts[0] as number) > 400, `${stream.parts}`);

      // Whatever a visitor says of who they are is taken off.
      await signed(scene, '/echo', {
        headers: {
          ...{
            'x-clawdy-code': 'A'.repeat(43),
            'X-Clawdy-User': 'root@example.com',
            'x-clawdy-port': '3000',
            x_clawdy_user: 'a',
          },
          ...{
            'x-forwarded-for': '127.0.0.1',
            'x-forwarded-host': 'evil.example',
            'cf-connecting-ip': '127.0.0.1',
            forwarded: 'for=127.0.0.1',
          },
          ...{
            'x-openclaw-user': 'root',
            'true-client-ip': '127.0.0.1',
            via: '1.1 evil',
            'x-real-ip': '127.0.0.1',
            te: 'trailers',
          },
          ...{ connection: 'close, X-Clawdy-Code, Authorization', 'x-kept': 'yes' },
        },
      });
      const clean = got(scene);
      t.like(clean, { 'x-clawdy-code': gate.code, 'x-clawdy-user': 'owner@example.com', 'x-kept': 'yes' });
      for (const name of [
        'x-clawdy-port',
        'x_clawdy_user',
        'x-forwarded-for',
        'forwarded',
        'x-openclaw-user',
        'true-client-ip',
        'x-real-ip',
      ])
        t.is(clean[name], undefined, name);
      t.false(
        Object.values(clean).some((value) => value.includes('evil') || value.includes('127.0.0.1')),
        JSON.stringify(clean),
      );
      t.false(Object.keys(clean).some((name) => name.startsWith('cf-access')));
      // Nobody gets anything of it without a session.
      const before = gate.seen.length;
      const stranger = await ask(host('alice'), '/echo', { headers: PAGE });
      t.is(stranger.status, 401);
      t.regex(stranger.text, /<h1>Sign in<\/h1>/);
      t.is((await ask(host('alice'), '/echo')).text, '{"error":"sign_in"}');
      t.is(gate.seen.length, before);
    }));

  test(`${place}: what isn’t a token of Access’ for us is nobody`, (t) =>
    withScene(place, 'access', async (scene) => {
      const { issuer, ask, host, gate } = scene;
      const status = async (token: string) =>
        (await ask(host('alice'), '/echo', { headers: { 'cf-access-jwt-assertion': token } })).status;
      t.is(await status(await issuer.access()), 200);
      const now = Math.floor(Date.now() / 1000);
      const before = gate.seen.length;
      const attacks: Record<string, Promise<string>> = {
        'another audience': issuer.access({ aud: ['0'.repeat(64)] }),
        'no audience': issuer.access({ aud: undefined }),
        'another issuer': issuer.access({ iss: 'https://evil.cloudflareaccess.com' }),
        over: issuer.access({ exp: now - 60 }),
        'without end': issuer.access({ exp: undefined }),
        'not yet': issuer.access({ nbf: now + 600 }),
        'no address': issuer.access({ email: undefined }),
        'an address that is none': issuer.access({ email: 'a b\r\nx: y' }),
        'another key': issuer.access({}, {}, 'foreign'),
        'another key under a name that isn’t known': issuer.access({}, { kid: 'key-2' }, 'foreign'),
        'alg none': issuer.access({}, { alg: 'none' }),
        'alg None': issuer
          .access({}, { alg: 'none', typ: 'JWT' })
          .then((token) => token.replace(/^[^.]+/, Buffer.from('{"alg":"None"}').toString('base64url'))),
        'the public key as a secret': issuer.access({}, { alg: 'HS256' }, 'secret'),
        'no signature': issuer.access().then((token) => token.replace(/[^.]+$/, '')),
        'another body': issuer.access().then((token) => {
          const [head, body, signature] = token.split('.') as [string, string, string];
          const claims = { ...JSON.parse(Buffer.from(body, 'base64url').toString()), email: 'friend@example.com' };
          return [head, Buffer.from(JSON.stringify(claims)).toString('base64url'), signature].join('.');
        }),
        'a key that it brings along': issuer.access(
          {},
          { jwk: { kty: 'RSA' }, jku: 'https://evil.example/jwks' },
          'foreign',
        ),
        garbage: Promise.resolve('x'.repeat(5000)),
      };
      for (const [name, token] of Object.entries(attacks)) t.is(await status(await token), 401, name);
      // The header counts, never the cookie: a page could set that.
      t.is(
        (await ask(host('alice'), '/echo', { headers: { cookie: `CF_Authorization=${await issuer.access()}` } }))
          .status,
        401,
      );
      const two = [await issuer.access(), await issuer.access({ email: 'friend@example.com' })];
      t.is((await ask(host('alice'), '/echo', { headers: { 'cf-access-jwt-assertion': two } })).status, 401);
      t.is(gate.seen.length, before);
    }));

  test(`${place}: everybody reaches what is theirs or shared with them, by its own host alone`, (t) =>
    withScene(place, 'access', async (scene) => {
      const { host, gate, put, ask, admin } = scene;
      const status = async (email: string, to: string, headers: Record<string, string> = {}) =>
        (await signed(scene, '/echo', { claims: { email }, to, headers })).status;
      const app = host('3000--alice', 'apps.test');
      t.is(await status('owner@example.com', app), 200);
      t.like(got(scene), { 'x-clawdy-port': '3000', 'x-clawdy-user': 'owner@example.com' });
      const table: [string, string, number][] = [
        ['OWNER@example.com', host('alice'), 200],
        ['friend@example.com', host('alice'), 200],
        ['guest@example.com', host('alice'), 403],
        ['stranger@example.com', host('alice'), 403],
        ['guest@example.com', app, 200],
        ['friend@example.com', app, 403],
        ['guest@example.com', host('3001--alice', 'apps.test'), 403],
        ['owner@example.com', host('3001--alice', 'apps.test'), 200],
        ['owner@example.com', host('bob'), 403],
      ];
      for (const [email, to, wanted] of table) t.is(await status(email, to), wanted, `${email} at ${to}`);
      const before = gate.seen.length;
      // Ports that no app has, in every spelling, and hosts that look like others.
      const odd = [
        '7860',
        '7862',
        '20000',
        '32767',
        '443',
        '22',
        '1023',
        '65536',
        '03000',
        '+3000',
        '3000.0',
        '0x0bb8',
        '３０００',
        '1e3',
        '-3000',
        '3000-',
      ];
      const hosts = [
        ...odd.map((number) => host(`${encodeURIComponent(number).toLowerCase()}--alice`, 'apps.test')),
        ...[
          host('alice', 'apps.test'),
          host('3000--alice'),
          host('a.alice'),
          host('alice--bob'),
          'alice.ui.test',
          'alice.ui.test:1',
        ],
        ...['127.0.0.1', 'evil.example', 'evil.example:443', host('alice').replace('ui.test', 'ui.test.evil.example')],
      ];
      for (const to of hosts) {
        const answer = await status('owner@example.com', to).catch(() => 404);
        t.true([400, 404].includes(answer), `${to}: ${answer}`);
      }
      // Another name for the same host is no way around what belongs to the name.
      t.is(await status('stranger@example.com', host('ALICE')), 403);
      t.is(await status('owner@example.com', host('bob'), { 'x-forwarded-host': host('alice') }), 403);
      t.is(gate.seen.length, before);

      // The registry is the operator's, and its newest word counts at once.
      for (const token of ['wrong', '', `${admin}x`])
        t.is((await put({ shares: ['stranger@example.com'] }, token)).status, 401);
      t.is((await put({ shares: [], revision: 1_000 })).status, 200);
      t.is(await status('friend@example.com', host('alice')), 403);
      t.is((await put({ shares: ['friend@example.com'], revision: 999 })).status, 409, 'older');
      t.is((await put({ slug: 'bob' })).status, 400, 'another’s');
      t.is((await put({ apps: [{ port: 7860, shares: [] }] })).status, 400, 'a reserved port');
      const told = await ask(host('auth'), '/.clawdy/registry/alice', {
        headers: { authorization: `Bearer ${admin}` },
      });
      t.deepEqual(JSON.parse(told.text), { slug: 'alice', revision: 1000, revoked: false });
      t.is((await put({ revoked: true, revision: 1_001 })).status, 200);
      t.is(await status('owner@example.com', host('alice')), 403);
    }));

  test(`${place}: no other site rides on somebody’s session`, (t) =>
    withScene(place, 'access', async (scene) => {
      const { host, gate } = scene;
      const own = `https://${host('alice')}`;
      const app = `https://${host('3000--alice', 'apps.test')}`;
      const status = async (method: string, headers: Record<string, string>) =>
        (await signed(scene, '/echo', { method, headers })).status;
      const link = { ...PAGE, 'sec-fetch-site': 'cross-site' };
      const passes: [string, Record<string, string>][] = [
        ['POST', { origin: own }],
        ['POST', { origin: own, 'sec-fetch-site': 'same-origin' }],
        ['POST', { 'sec-fetch-site': 'same-origin' }],
        ['DELETE', { origin: own }],
        ['GET', {}],
        ['GET', { 'sec-fetch-site': 'same-origin', 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty' }],
        ['GET', { ...PAGE, 'sec-fetch-site': 'none' }],
        ['GET', link],
      ];
      for (const [method, headers] of passes)
        t.is(await status(method, headers), 200, `${method} ${JSON.stringify(headers)}`);
      const before = gate.seen.length;
      const attacks: [string, Record<string, string>][] = [
        ['POST', { origin: 'https://evil.example' }],
        ['POST', { origin: app, 'sec-fetch-site': 'cross-site' }],
        ['POST', { origin: 'null' }],
        ['POST', {}],
        ['PUT', { origin: own.replace('https', 'http') }],
        ['PATCH', { origin: `${own}.evil.example` }],
        ['POST', { 'sec-fetch-site': 'same-site' }],
        ['GET', { origin: 'https://evil.example' }],
        ['GET', { ...link, 'sec-fetch-dest': 'iframe' }],
        ['GET', { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'script' }],
        ['GET', { 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty' }],
      ];
      for (const [method, headers] of attacks)
        t.is(await status(method, headers), 403, `${method} ${JSON.stringify(headers)}`);
      t.is(gate.seen.length, before);
    }));

  test(`${place}: WebSockets pass both ways, from this host’s pages alone, and end with the session or the access`, (t) =>
    withScene(place, 'access', async (scene) => {
      const { host, issuer, open, gate, put } = scene;
      const own = `https://${host('alice')}`;
      const token = (claims = {}) => issuer.access(claims);
      const socket = open(host('alice'), '/ws?x=1', { origin: own, 'cf-access-jwt-assertion': await token() }, [
        'one',
        'two',
      ]);
      const first = once(socket, 'message');
      await once(socket, 'open');
      t.is(socket.protocol, 'one');
      t.is(String((await first)[0]), 'hello');
      t.like(got(scene), { 'x-clawdy-code': gate.code, 'x-clawdy-user': 'owner@example.com' });
      t.is(gate.seen.at(-1)?.line, 'GET /ws?x=1');
      for (const data of ['text', Buffer.from([0, 1, 255])]) {
        socket.send(data);
        t.deepEqual(Buffer.from((await once(socket, 'message'))[0]), Buffer.from(data));
      }
      socket.send('close 4007');
      t.deepEqual(await closed(socket), { code: 4007, reason: 'as asked' });

      const before = gate.seen.length;
      for (const [origin, status] of [
        ['https://evil.example', 403],
        [undefined, 403],
        ['null', 403],
        [`https://${host('3000--alice', 'apps.test')}`, 403],
      ] as const) {
        const refused = open(host('alice'), '/ws', {
          ...(origin ? { origin } : {}),
          'cf-access-jwt-assertion': await token(),
        });
        refused.on('error', () => {});
        const [, answer] = await once(refused, 'unexpected-response');
        t.is(answer.statusCode, status, origin);
        refused.terminate();
      }
      t.is(gate.seen.length, before);

      const late = open(host('alice'), '/ws', {
        origin: own,
        'cf-access-jwt-assertion': await token({ exp: Math.floor(Date.now() / 1000) + 4 }),
      });
      await once(late, 'open');
      t.is((await closed(late)).code, 4401);
      const shared = open(host('alice'), '/ws', {
        origin: own,
        'cf-access-jwt-assertion': await token({ email: 'friend@example.com' }),
      });
      await once(shared, 'open');
      await put({ shares: [], revision: 5_000 });
      t.is((await closed(shared)).code, 4403);
    }));

  test(`${place}: what a visitor writes into a request is one request at the gate`, (t) =>
    withScene(place, 'access', async (scene) => {
      const { host, gate } = scene;
      const own = { origin: `https://${host('alice')}` };
      const hidden = 'GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n';
      const before = gate.seen.length;
      t.is((await signed(scene, '/echo', { method: 'POST', headers: own, body: hidden })).status, 200);
      t.is(gate.seen.length, before + 1, 'the control');
      const tries: Asked[] = [
        { method: 'POST', body: `0\r\n\r\n${hidden}`, headers: { ...own, 'transfer-encoding': 'chunked' } },
        { method: 'POST', body: hidden, headers: { ...own, expect: '100-continue' } },
        { method: 'GET', body: hidden, headers: { 'content-length': String(hidden.length) } },
      ];
      for (const one of tries) t.is((await signed(scene, '/echo', one)).status, 200);
      t.is(gate.seen.length, before + 1 + tries.length);
      for (const path of [
        '/a%0d%0aX-Clawdy-User:%20root',
        '/a%00b',
        '//evil.example/x',
        '/../../x',
        '/.clawdy/../echo',
        '/%2e%2e/x',
      ])
        await signed(scene, path).catch(() => undefined);
      for (const { line, headers } of gate.seen) {
        t.regex(line, /^(GET|POST) \/(?!hidden)[\x21-\x7e]*$/);
        t.is(
          headers.filter(([name]) => name === 'content-length' || name === 'transfer-encoding').length,
          line.startsWith('POST') ? 1 : 0,
          line,
        );
        t.is(headers.filter(([name]) => name === 'x-clawdy-user').length, 1);
        t.is(headers.find(([name]) => name === 'x-clawdy-user')?.[1], 'owner@example.com');
      }
    }));

  test(`${place}: where the gate can’t or won’t, people read why, and never the code`, (t) =>
    withScene(place, 'access', async (scene) => {
      const { gate, put, log } = scene;
      t.is((await signed(scene, '/', { headers: PAGE })).status, 200);
      gate.starting = true;
      const starting = await signed(scene, '/', { headers: PAGE });
      t.deepEqual([starting.status, starting.headers['retry-after']], [503, '5']);
      t.regex(starting.text, /<h1>Starting<\/h1>/);
      t.is((await signed(scene, '/')).text, '{"error":"starting"}');
      gate.starting = false;
      const code = gate.code;
      gate.code = 'B'.repeat(43);
      const other = await signed(scene, '/', { headers: PAGE });
      t.is(other.status, 502);
      t.regex(other.text, /<h1>Unreachable<\/h1>/);
      await until(async () => log().includes('alice: the gate does not take the code'));
      await put({ origin: 'localhost:1', revision: 50 });
      const gone = await signed(scene, '/', { headers: PAGE });
      t.is(gone.status, 502);
      for (const answer of [starting, other, gone]) {
        t.false(bytesOf(answer).includes(code));
        t.regex(String(answer.headers['content-security-policy']), /default-src 'none'/);
        t.is(answer.headers['cache-control'], 'no-store');
      }
    }));

  test(`${place}: people sign in at their provider, host by host; what they carry opens nothing else`, (t) =>
    withScene(place, 'oidc', async (scene) => {
      const { ask, host, issuer, gate } = scene;
      /** As a browser would: cookies by host. */
      const browser = () => {
        const jar = new Map<string, Map<string, string>>();
        const go = async (to: string, path: string, more: Record<string, string> = {}): Promise<Answer> => {
          const mine = jar.get(to) ?? new Map<string, string>();
          jar.set(to, mine);
          const cookie = [...mine].map(([name, value]) => `${name}=${value}`).join('; ');
          const answer = await ask(to, path, { headers: { ...PAGE, ...(cookie ? { cookie } : {}), ...more } });
          for (const one of answer.headers['set-cookie'] ?? []) {
            t.regex(one, /; Path=\/; Max-Age=\d+; Secure; HttpOnly; SameSite=Lax$/);
            const [name = '', value = ''] = (one.split(';')[0] as string).split('=');
            if (/Max-Age=0/.test(one)) mine.delete(name);
            else mine.set(name, value);
          }
          return answer;
        };
        return { jar, go };
      };
      const toTicket = async ({ go }: ReturnType<typeof browser>, to: string, path = '/echo') => {
        const asked = await go(to, `/.clawdy/sign-in?to=${encodeURIComponent(path)}`);
        t.is(hostOf(asked.headers.location), host('auth'));
        const provider = await go(host('auth'), pathOf(asked.headers.location));
        t.true(provider.headers.location?.startsWith(`${issuer.url}/authorize?`), provider.text);
        const approved = await fetch(provider.headers.location as string, { redirect: 'manual' });
        return { callback: pathOf(approved.headers.get('location') as string) };
      };
      const signIn = async (who: ReturnType<typeof browser>, to: string, path?: string) => {
        const { callback } = await toTicket(who, to, path);
        const ticket = await who.go(host('auth'), callback);
        t.is(hostOf(ticket.headers.location), to, ticket.text + scene.log());
        const there = await who.go(to, pathOf(ticket.headers.location));
        return { callback, ticket: pathOf(ticket.headers.location), there };
      };

      const owner = browser();
      const page = await owner.go(host('alice'), '/echo?a=1');
      t.is(page.status, 401);
      t.regex(page.text, /href="\/\.clawdy\/sign-in\?to=%2Fecho%3Fa%3D1"/);
      const { callback, ticket, there } = await signIn(owner, host('alice'), '/echo?a=1');
      t.is(there.headers.location, '/echo?a=1');
      const through = await owner.go(host('alice'), '/echo?a=1');
      t.is(through.status, 200, through.text);
      t.false(through.text.includes('__Host-clawdy'), 'the session stays with the proxy');
      // Again, and by somebody else, neither the ticket nor the provider's answer opens anything.
      t.is((await owner.go(host('alice'), ticket)).status, 400);
      t.is((await owner.go(host('auth'), callback)).status, 400);
      const thief = browser();
      for (const [to, path] of [
        [host('alice'), ticket],
        [host('auth'), callback],
        [host('3000--alice', 'apps.test'), ticket],
      ] as const)
        t.is((await thief.go(to, path)).status, 400, path);
      // One host's session is no other's.
      const session = owner.jar.get(host('alice'))?.get('__Host-clawdy') as string;
      const app = host('3000--alice', 'apps.test');
      t.is((await ask(app, '/echo', { headers: { cookie: `__Host-clawdy=${session}` } })).status, 401);
      t.is((await ask(host('alice'), '/echo', { headers: { cookie: `__Host-clawdy=${session}` } })).status, 200);
      t.is(
        (await ask(host('alice'), '/echo', { headers: { cookie: `__Host-clawdy=${session}; __Host-clawdy=x` } }))
          .status,
        401,
      );
      t.is(
        (await ask(host('alice'), '/echo', { headers: { cookie: `__Host-clawdy=${session.slice(0, -4)}AAAA` } }))
          .status,
        401,
      );
      await signIn(owner, app);
      t.is((await owner.go(app, '/echo')).status, 200);
      t.is(got(scene)['x-clawdy-port'], '3000');
      // What waits for a ticket is no session, nor is what waits for the provider.
      const waiting = browser();
      await toTicket(waiting, host('alice'));
      for (const jar of waiting.jar.values())
        for (const value of jar.values())
          t.is((await ask(host('alice'), '/echo', { headers: { cookie: `__Host-clawdy=${value}` } })).status, 401);

      // No way out by where somebody wants to return to, nor to a host that isn't ours.
      for (const to of [
        'https://evil.example',
        '//evil.example',
        '/\\evil.example',
        '/\t/evil.example',
        '\\\\evil.example',
        'javascript:alert(1)',
        '/.//evil.example',
        '/%0d%0aX: y',
      ]) {
        const { there: back } = await signIn(browser(), host('alice'), to);
        t.regex(String(back.headers.location), /^\/(?![/\\])[\x21-\x7e]*$/, to);
      }
      for (const target of [
        'evil.example',
        host('auth'),
        'alice.ui.test.evil.example',
        `${host('alice')}@evil.example`,
        'alice.ui.test',
        `evil.example/${host('alice')}`,
      ])
        t.is(
          (
            await browser().go(
              host('auth'),
              `/.clawdy/sign-in?host=${encodeURIComponent(target)}&for=${'a'.repeat(43)}&to=/`,
            )
          ).status,
          404,
          target,
        );

      // Whom the provider can't vouch for, or what was meant for others, is nobody.
      const before = gate.seen.length;
      for (const user of [
        { email: 'owner@example.com', email_verified: false },
        { email: 'owner@example.com', email_verified: undefined },
        { email: undefined },
        { email: 'owner@example.com', email_verified: true, aud: 'another' },
        { email: 'owner@example.com', email_verified: true, nonce: 'replayed' },
        { email: 'owner@example.com', email_verified: true, iss: 'https://evil.example' },
      ]) {
        issuer.user = user;
        const who = browser();
        const { callback: answer } = await toTicket(who, host('alice'));
        t.is((await who.go(host('auth'), answer)).status, 400, JSON.stringify(user));
      }
      t.is(gate.seen.length, before);
      issuer.user = { email: 'stranger@example.com', email_verified: true };
      const stranger = browser();
      await signIn(stranger, host('alice'));
      const refused = await stranger.go(host('alice'), '/echo');
      t.is(refused.status, 403);
      t.regex(refused.text, /<h1>Not yours<\/h1>/);

      const out = await owner.go(host('alice'), '/.clawdy/sign-out');
      t.is(out.status, 200);
      t.is(cookieIn(out, '__Host-clawdy'), '__Host-clawdy=');
      t.is((await owner.go(host('alice'), '/echo')).status, 401);
    }));
}
