import test from 'ava';
import { generateKeyPair, type JWTPayload, SignJWT, UnsecuredJWT } from 'jose';
import { here } from './cases.ts';
import { Browser, signedIn } from './sign-in.ts';
import { APPS_DOMAIN, AUDIENCES, OWNER, UI_DOMAIN } from './world.ts';

const AUTH = `auth.${UI_DOMAIN}`;

/** Who gets in. The tables of test/unit/edge-tokens.test.ts are longer; these show that a runtime does as its core. */
export function signInCases(): void {
  test.serial('access: forged headers and tokens open nothing', async (t) => {
    const { world } = here;
    const { slug } = await world.instance('access');
    const host = `${slug}.${UI_DOMAIN}`;
    const { issuer } = world;
    const now = Math.floor(Date.now() / 1000);
    const claims = { iss: issuer.url, sub: '1', aud: AUDIENCES.ui, email: OWNER, iat: now, exp: now + 600 };
    const get = async (headers: Record<string, string>) => (await world.call('access', host, '/', { headers })).status;
    const token = (jwt: string) => get({ 'cf-access-jwt-assertion': jwt });
    const good = await issuer.sign(claims);
    t.is(await token(good), 200);
    const before = world.gate.seen.length;
    const secret = new TextEncoder().encode(JSON.stringify(issuer.jwk));
    const { privateKey } = await generateKeyPair('RS256');
    const attacks: Record<string, Promise<number>> = {
      none: get({}),
      email: get({ 'cf-access-authenticated-user-email': OWNER }),
      cookie: get({ cookie: `CF_Authorization=${good}` }),
      'alg none': token(new UnsecuredJWT(claims).encode()),
      HS256: token(await new SignJWT(claims).setProtectedHeader({ alg: 'HS256', kid: 'fake-1' }).sign(secret)),
      'another key': token(
        await new SignJWT(claims).setProtectedHeader({ alg: 'RS256', kid: 'fake-1' }).sign(privateKey),
      ),
      audience: token(await issuer.sign({ ...claims, aud: AUDIENCES.apps })),
      issuer: token(await issuer.sign({ ...claims, iss: 'https://evil.test' })),
      expired: token(await issuer.sign({ ...claims, exp: now - 10 })),
      later: token(await issuer.sign({ ...claims, nbf: now + 60 })),
      cut: token(good.slice(0, -4)),
    };
    for (const [name, status] of Object.entries(attacks)) t.is(await status, 401, name);
    t.is(world.gate.seen.length, before);
  });

  test.serial('oidc: somebody signs in and lands where they wanted to, on the UI and on an app', async (t) => {
    const { world } = here;
    const { slug } = await world.instance('oidc');
    for (const host of [`${slug}.${UI_DOMAIN}`, `3000--${slug}.${APPS_DOMAIN}`]) {
      world.issuer.claims = { sub: '1', email: OWNER, email_verified: true };
      const browser = new Browser(world, 'oidc');
      const before = await browser.get(host, '/page?x=1');
      t.is(before.status, 401);
      t.regex(before.text, /href="\/\.clawdy\/login\?back=%2Fpage%3Fx%3D1"/);
      t.is(await browser.signIn(host, '/page?x=1'), '/page?x=1');
      t.is((await browser.get(host, '/page?x=1')).status, 200);
      t.deepEqual([...(browser.jar.get(host)?.keys() ?? [])], ['__Host-clawdy'], 'the login’s cookie is gone');
      // Not on another host, even of the same instance.
      const cookie = browser.cookies(host);
      const other = host.startsWith('3000') ? `${slug}.${UI_DOMAIN}` : `3000--${slug}.${APPS_DOMAIN}`;
      t.is((await world.call('oidc', other, '/', { headers: { cookie } })).status, 401);
      const planted = { cookie: `__Host-clawdy=planted; ${cookie}` };
      t.is((await world.call('oidc', host, '/', { headers: planted })).status, 401, 'two are none');
    }
  });

  test.serial('oidc: a ticket counts once, in one browser, on one host', async (t) => {
    const { world } = here;
    const { slug } = await world.instance('oidc');
    const host = `${slug}.${UI_DOMAIN}`;
    world.issuer.claims = { sub: '1', email: OWNER, email_verified: true };
    const browser = new Browser(world, 'oidc');
    const ticket = await browser.ticket(host, '/');
    const path = `${ticket.pathname}${ticket.search}`;
    const login = browser.cookies(host);
    t.is((await new Browser(world, 'oidc').get(host, path)).status, 400, 'another browser');
    const eve = new Browser(world, 'oidc');
    await eve.get(host, '/.clawdy/login');
    t.is((await eve.get(host, path)).status, 400, 'another browser that has begun too');
    const app = `3000--${slug}.${APPS_DOMAIN}`;
    t.is((await world.call('oidc', app, path, { headers: { cookie: login } })).status, 400, 'another host');
    t.is((await browser.get(host, path)).status, 302, 'the control');
    t.is((await world.call('oidc', host, path, { headers: { cookie: login } })).status, 400, 'again');
  });

  test.serial('oidc: what comes back from the issuer must be of this login, and good', async (t) => {
    const { world } = here;
    const { slug } = await world.instance('oidc');
    const host = `${slug}.${UI_DOMAIN}`;
    world.issuer.claims = { sub: '1', email: OWNER, email_verified: true };
    /** A login up to the issuer's answer, which `change` spoils. */
    const back = async (change: (url: URL, browser: Browser) => unknown = () => {}) => {
      const browser = new Browser(world, 'oidc');
      const begun = new URL((await browser.get(host, '/.clawdy/login')).headers.location ?? '');
      const sent = await browser.get(AUTH, `${begun.pathname}${begun.search}`);
      const code = await browser.visitIssuer(new URL(sent.headers.location ?? ''));
      await change(code, browser);
      const answer = await browser.get(AUTH, `${code.pathname}${code.search}`);
      return { status: answer.status, browser, code };
    };
    t.is((await back()).status, 302);
    t.is((await back((url) => url.searchParams.set('state', 'another'))).status, 400, 'state');
    t.is((await back((_url, browser) => browser.jar.delete(AUTH))).status, 400, 'another browser: login CSRF');
    t.is((await back((url) => url.searchParams.set('code', 'another'))).status, 400, 'code');
    t.is((await back((url) => url.searchParams.append('state', 'twice'))).status, 400, 'two states');
    let cookie = '';
    // Refused by us, not only by an issuer that knows its codes.
    world.issuer.forgetful = true;
    const used = await back((_url, browser) => {
      cookie = browser.cookies(AUTH);
    });
    const again = `${used.code.pathname}${used.code.search}`;
    t.is((await world.call('oidc', AUTH, again, { headers: { cookie } })).status, 400, 'the callback again');
    world.issuer.forgetful = false;
    const spoilt: Record<string, (claims: JWTPayload) => JWTPayload> = {
      nonce: (claims) => ({ ...claims, nonce: 'another' }),
      audience: (claims) => ({ ...claims, aud: 'another' }),
      issuer: (claims) => ({ ...claims, iss: 'https://evil.test' }),
      expired: (claims) => ({ ...claims, exp: 1 }),
    };
    for (const [name, spoil] of Object.entries(spoilt)) {
      world.issuer.spoil = spoil;
      t.is((await back()).status, 400, name);
    }
    world.issuer.spoil = undefined;
    for (const email_verified of [false, undefined, 'true']) {
      world.issuer.claims = { sub: '1', email: OWNER, email_verified };
      t.is((await back()).status, 403, `email_verified ${email_verified}`);
    }
    world.issuer.claims = { sub: '1', email: OWNER, email_verified: true };
  });

  test.serial('oidc: nobody is sent elsewhere', async (t) => {
    const { world } = here;
    const { slug } = await world.instance('oidc');
    const host = `${slug}.${UI_DOMAIN}`;
    world.issuer.claims = { sub: '1', email: OWNER, email_verified: true };
    for (const path of ['//evil.test', '/\\evil.test', 'https://evil.test/', '/\t/evil.test', '/..//evil.test'])
      t.is(await new Browser(world, 'oidc').signIn(host, path), '/', path);
    t.is(await new Browser(world, 'oidc').signIn(host, '/fine?a=b'), '/fine?a=b');
    const bind = 'a'.repeat(43);
    const authorize = async (to: string) =>
      (await world.call('oidc', AUTH, `/.clawdy/authorize?${new URLSearchParams({ host: to, bind })}`)).status;
    const { oidc: port } = world.ports;
    t.is(await authorize(`${host}:${port}`), 302);
    const hosts = ['evil.test', `${host}.evil.test:${port}`, `evil.test/@${host}:${port}`, `eve@${host}:${port}`, host];
    for (const to of [...hosts, `${AUTH}:${port}`, `22--${slug}.${APPS_DOMAIN}:${port}`, `${host}:${port}/x?`, ''])
      t.is(await authorize(to), 400, to);
  });

  test.serial('oidc: after signing out a copy of the cookie is worth nothing', async (t) => {
    const { world } = here;
    const { slug } = await world.instance('oidc');
    const host = `${slug}.${UI_DOMAIN}`;
    const who = await signedIn(world, 'oidc', host);
    const status = async () => (await world.call('oidc', host, '/', { headers: who })).status;
    t.is(await status(), 200);
    const account = await world.call('oidc', host, '/.clawdy/', { headers: { ...who, accept: 'text/html' } });
    t.regex(account.text, /Signed in as owner@example.com/);
    const logout = (origin: string) =>
      world.call('oidc', host, '/.clawdy/logout', { method: 'POST', headers: { ...who, origin } });
    t.is((await logout('https://evil.test')).status, 403);
    t.is(await status(), 200, 'nobody else signs somebody out');
    const out = await logout(`https://${host}:${world.ports.oidc}`);
    t.regex(out.text, /Signed out/);
    t.is(await status(), 401);
  });
}
