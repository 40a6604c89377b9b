import test from 'ava';
import { exportJWK, generateKeyPair, importJWK, type JWTPayload, SignJWT, UnsecuredJWT } from 'jose';
import { userOf } from '../../layers/06-cloudflare/edge/core/tokens.ts';
import type { SignIn } from '../../src/contract/edge.ts';
import { APP, AUDIENCES, type MemoryEdge, memoryEdge, UI } from './edge-fixture.ts';

const ACCESS = 'cf-access-jwt-assertion';

/** Each makes headers with which somebody must stay outside. The control is the same token without the attack. */
const ATTACKS: Record<string, (edge: MemoryEdge) => Promise<Record<string, string>>> = {
  'no token': async () => ({}),
  'a user in a header of Access': async () => ({ 'cf-access-authenticated-user-email': 'anna@example.com' }),
  'a user in the gate’s header': async () => ({ 'x-clawdy-user': 'anna@example.com' }),
  'the token as a cookie': async (edge) => ({ cookie: `CF_Authorization=${await edge.token()}` }),
  'the token as a bearer': async (edge) => ({ authorization: `Bearer ${await edge.token()}` }),
  'two tokens in one header': async (edge) => ({ [ACCESS]: `${await edge.token()}, ${await edge.token()}` }),
  'alg none': async (edge) => {
    const claims = { iss: edge.issuer, sub: '1', aud: AUDIENCES.ui, email: 'anna@example.com' };
    return { [ACCESS]: new UnsecuredJWT({ ...claims, iat: edge.clock.now, exp: edge.clock.now + 600 }).encode() };
  },
  'alg HS256 with the public key as its secret': async (edge) => ({
    [ACCESS]: await edge.token({}, new TextEncoder().encode(JSON.stringify(edge.jwk)), { alg: 'HS256' }),
  }),
  'another algorithm of the same key': async (edge) => {
    const same = await importJWK(await exportJWK(edge.privateKey), 'RS512');
    return { [ACCESS]: await edge.token({}, same, { alg: 'RS512' }) };
  },
  'another key under the same ID': async (edge) => ({
    [ACCESS]: await edge.token({}, (await generateKeyPair('RS256')).privateKey),
  }),
  'a key that the token brings along': async (edge) => {
    const { privateKey, publicKey } = await generateKeyPair('RS256', { extractable: true });
    const jwk = await crypto.subtle.exportKey('jwk', publicKey);
    return { [ACCESS]: await edge.token({}, privateKey, { jwk, jku: 'https://evil.test/keys' }) };
  },
  'a changed payload': async (edge) => {
    const [head, payload = '', signature] = (await edge.token({ email: 'eve@example.com' })).split('.');
    const text = Buffer.from(payload, 'base64url').toString().replace('eve@', 'anna@');
    return { [ACCESS]: `${head}.${Buffer.from(text).toString('base64url')}.${signature}` };
  },
  ...Object.fromEntries(
    (
      [
        ['the audience of the apps', () => ({ aud: AUDIENCES.apps })],
        ['no audience', () => ({ aud: [] })],
        ['another issuer', () => ({ iss: 'https://evil.test' })],
        ['the issuer with a slash', ({ issuer }) => ({ iss: `${issuer}/` })],
        ['an expired token', ({ clock }) => ({ exp: clock.now - 6 })],
        ['a token for later', ({ clock }) => ({ nbf: clock.now + 60 })],
        ['an address with a header in it', () => ({ email: 'anna@example.com\r\nx-clawdy-user: eve' })],
        ['a service token, which has no address', () => ({ email: undefined, common_name: 'anna@example.com' })],
        ['somebody else', () => ({ email: 'eve@example.com' })],
        ['a Kelvin sign that is k in lower case', () => ({ email: 'mi\u212Ae@example.com' })],
      ] as [string, (edge: MemoryEdge) => JWTPayload][]
    ).map(([name, claims]) => [
      name,
      async (edge: MemoryEdge) => ({ [ACCESS]: await edge.token(claims(edge)) }) as Record<string, string>,
    ]),
  ),
};

for (const [name, headers] of Object.entries(ATTACKS)) {
  test(`${name} opens nothing`, async (t) => {
    const edge = await memoryEdge();
    const control = await edge.handle(`${UI}/`, { headers: { [ACCESS]: await edge.token() } });
    t.deepEqual([control.status, edge.asked.length], [200, 1]);
    const answer = await edge.handle(`${UI}/`, { headers: await headers(edge) });
    t.true([401, 403].includes(answer.status), `${answer.status}`);
    t.is(edge.asked.length, 1, 'nothing reached the gate');
  });
}

test('a token without an end, or for ever, opens nothing', async (t) => {
  const edge = await memoryEdge();
  const claims = { iss: edge.issuer, sub: '1', aud: AUDIENCES.ui, email: 'anna@example.com', iat: edge.clock.now };
  const endless = await new SignJWT(claims).setProtectedHeader({ alg: 'RS256', kid: 'k' }).sign(edge.privateKey);
  t.is((await edge.handle(`${UI}/`, { headers: { [ACCESS]: endless } })).status, 401);
  // What was right once is no longer when its time is over.
  const token = await edge.token();
  t.is((await edge.handle(`${UI}/`, { headers: { [ACCESS]: token } })).status, 200);
  edge.clock.now += 606;
  t.is((await edge.handle(`${UI}/`, { headers: { [ACCESS]: token } })).status, 401);
});

test('a token for the apps opens apps, and for whom they are shared with', async (t) => {
  const edge = await memoryEdge();
  const as = async (email: string) => ({ headers: { [ACCESS]: await edge.token({ aud: AUDIENCES.apps, email }) } });
  t.is((await edge.handle(`${APP}/`, await as('cleo@example.com'))).status, 200);
  t.is(edge.asked[0]?.headers.get('x-clawdy-port'), '3000');
  t.is((await edge.handle(`${APP}/`, { headers: { [ACCESS]: await edge.token() } })).status, 401, 'a token for the UI');
  t.is((await edge.handle(`${APP}/`, await as('ben@example.com'))).status, 403, 'shares of the instance');
  t.is((await edge.handle(APP.replace('3000', '3001'), await as('cleo@example.com'))).status, 403, 'another port');
  t.is((await edge.handle(APP.replace('3000', '3001'), await as('Anna@Example.com'))).status, 200, 'the owner');
});

test('an OIDC issuer must have verified the address', (t) => {
  const signIn = { mode: 'oidc', identity: 'email' } as SignIn;
  t.is(userOf({ email: 'Anna@Example.com', email_verified: true }, signIn), 'anna@example.com');
  for (const email_verified of [undefined, false, 'true', 1])
    t.is(userOf({ email: 'anna@example.com', email_verified }, signIn), undefined);
  t.is(userOf({ sub: 'Anna', email: 'eve@example.com' }, { ...signIn, identity: 'sub' }), 'Anna');
});

test('the log tells why, and never the token', async (t) => {
  const edge = await memoryEdge();
  const token = await edge.token({ aud: 'another' });
  await edge.handle(`${UI}/`, { headers: { [ACCESS]: token } });
  t.regex(edge.logged.join(), /token-refused.*ERR_JWT_CLAIM_VALIDATION_FAILED/);
  t.false(edge.logged.join().includes(token.slice(0, 40)));
});
