import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';

/** What a token says apart from what the issuer says by itself; undefined leaves a claim out. */
export type Claims = Record<string, unknown>;

export interface FakeIssuer {
  url: string;
  /** Who is signed in at the provider, and asks for nothing more. */
  user: Claims;
  audience: string;
  /** A token as Cloudflare Access puts into its header. @param header replaces members of the JOSE header. */
  access(claims?: Claims, header?: Record<string, unknown>, key?: 'own' | 'foreign' | 'secret'): Promise<string>;
  close(): Promise<void>;
}

/**
 * Who says who somebody is, in both kinds: Cloudflare Access (its keys at /cdn-cgi/access/certs) and an OpenID Connect provider that knows
 * its user already. Built from OpenID Connect Core 1.0 and Access' page on validating tokens, not from either service.
 */
export async function startIssuer(): Promise<FakeIssuer> {
  const audience = randomBytes(32).toString('hex');
  const pairs = { own: await generateKeyPair('RS256'), foreign: await generateKeyPair('RS256') };
  const kid = 'key-1';
  const jwks = { keys: [{ ...(await exportJWK(pairs.own.publicKey)), kid, alg: 'RS256', use: 'sig' }] };
  const codes = new Map<string, { nonce: string; challenge: string; redirect: string }>();

  const server = createServer(async (request, response) => {
    const url = new URL(request.url ?? '', issuer.url);
    const json = (body: object) =>
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    if (url.pathname === '/cdn-cgi/access/certs' || url.pathname === '/jwks') return void json(jwks);
    if (url.pathname === '/.well-known/openid-configuration')
      return void json({
        ...{
          issuer: issuer.url,
          authorization_endpoint: `${issuer.url}/authorize`,
          token_endpoint: `${issuer.url}/token`,
        },
        ...{
          jwks_uri: `${issuer.url}/jwks`,
          response_types_supported: ['code'],
          id_token_signing_alg_values_supported: ['RS256'],
        },
      });
    if (url.pathname === '/authorize') {
      const { state, nonce, code_challenge, redirect_uri } = Object.fromEntries(url.searchParams) as Record<
        string,
        string
      >;
      const code = randomBytes(16).toString('hex');
      codes.set(code, {
        nonce: nonce as string,
        challenge: code_challenge as string,
        redirect: redirect_uri as string,
      });
      const back = new URL(redirect_uri as string);
      back.searchParams.set('code', code);
      back.searchParams.set('state', state as string);
      return void response.writeHead(302, { location: back.href }).end();
    }
    if (url.pathname === '/token' && request.method === 'POST') {
      const form = new URLSearchParams(Buffer.concat(await request.toArray()).toString());
      const known = codes.get(form.get('code') ?? '');
      codes.delete(form.get('code') ?? '');
      const challenge = createHash('sha256')
        .update(form.get('code_verifier') ?? '')
        .digest('base64url');
      if (!known || challenge !== known.challenge || form.get('redirect_uri') !== known.redirect)
        return void response.writeHead(400, { 'content-type': 'application/json' }).end('{"error":"invalid_grant"}');
      const claims = { nonce: known.nonce, sub: 'user-1', aud: 'client', ...issuer.user };
      return void json({ access_token: 'unused', token_type: 'bearer', expires_in: 60, id_token: await token(claims) });
    }
    response.writeHead(404).end();
  });

  async function token(claims: Claims, header = {}, key: 'own' | 'foreign' | 'secret' = 'own'): Promise<string> {
    const now = Math.floor(Date.now() / 1000);
    const all = { iss: issuer.url, iat: now, exp: now + 300, ...claims };
    const left = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
    const head = { alg: 'RS256', kid, ...header };
    if (head.alg === 'none') return `${part(head)}.${part(left)}.`;
    // HS256 with what everybody knows, the public key.
    if (key === 'secret')
      return new SignJWT(left).setProtectedHeader(head).sign(Buffer.from(JSON.stringify(jwks.keys[0])));
    return new SignJWT(left).setProtectedHeader(head).sign(pairs[key].privateKey);
  }

  const issuer: FakeIssuer = {
    ...{ url: '', user: { email: 'owner@example.com', email_verified: true }, audience },
    access: (claims = {}, header = {}, key = 'own') =>
      token({ aud: [audience], email: 'owner@example.com', sub: 'user-1', type: 'app', ...claims }, header, key),
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  issuer.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return issuer;
}

const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
