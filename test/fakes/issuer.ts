import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose';
import type { Pair } from './certificates.ts';

/**
 * An OIDC issuer that signs in whoever `claims` names, without asking; its keys are where Cloudflare Access has them too. It
 * refuses what RFC 6749, 7636 and OpenID Connect Core refuse: another redirect URI, a code twice, a wrong verifier or secret.
 */
export interface FakeIssuer {
  url: string;
  clientId: string;
  clientSecret: string;
  /** Of the next ID token, beside what the protocol puts there. */
  claims: JWTPayload;
  /** Changes a token that is about to be signed. */
  spoil: ((claims: JWTPayload) => JWTPayload) | undefined;
  /** Takes a code again, as it must not. */
  forgetful: boolean;
  /** Its own key, for tokens as Access would give. */
  sign(claims: JWTPayload, options?: { expires?: number; notBefore?: number }): Promise<string>;
  /** The public key in PEM-less form, for attacks with it. */
  jwk: Awaited<ReturnType<typeof exportJWK>>;
  close(): Promise<void>;
}

const KID = 'fake-1';

export async function startFakeIssuer(server509: Pair, redirectUri: () => string): Promise<FakeIssuer> {
  const { publicKey, privateKey } = await generateKeyPair('RS256');
  const jwk = { ...(await exportJWK(publicKey)), kid: KID, alg: 'RS256', use: 'sig' };
  const codes = new Map<string, { nonce: string; challenge: string }>();
  const server = createServer({ cert: server509.certificate, key: server509.key }, (request, response) => {
    serve(request, response).catch((error) => {
      process.stderr.write(`fake issuer: ${error instanceof Error ? error.stack : error}\n`);
      response.writeHead(500).end();
    });
  });
  const answer = (response: ServerResponse, status: number, body: unknown) =>
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<unknown> {
    const { pathname, searchParams } = new URL(request.url ?? '', issuer.url);
    if (pathname === '/.well-known/openid-configuration') return answer(response, 200, metadata());
    if (pathname === '/keys' || pathname === '/cdn-cgi/access/certs') return answer(response, 200, { keys: [jwk] });
    if (pathname === '/authorize') return authorize(searchParams, response);
    if (pathname === '/token') return token(request, response);
    return answer(response, 404, {});
  }

  const metadata = () => ({
    ...{ issuer: issuer.url, jwks_uri: `${issuer.url}/keys`, authorization_endpoint: `${issuer.url}/authorize` },
    ...{
      token_endpoint: `${issuer.url}/token`,
      response_types_supported: ['code'],
      subject_types_supported: ['public'],
    },
    ...{ id_token_signing_alg_values_supported: ['RS256'], code_challenge_methods_supported: ['S256'] },
  });

  function authorize(query: URLSearchParams, response: ServerResponse): unknown {
    const wrong =
      query.get('client_id') !== issuer.clientId ||
      query.get('redirect_uri') !== redirectUri() ||
      query.get('code_challenge_method') !== 'S256' ||
      !query.get('state');
    if (wrong) return answer(response, 400, { error: 'invalid_request' });
    const code = randomBytes(16).toString('base64url');
    codes.set(code, { nonce: query.get('nonce') ?? '', challenge: query.get('code_challenge') ?? '' });
    const back = new URLSearchParams({ code, state: query.get('state') as string });
    return response.writeHead(302, { location: `${redirectUri()}?${back}` }).end();
  }

  async function token(request: IncomingMessage, response: ServerResponse): Promise<unknown> {
    let text = '';
    for await (const part of request) text += part;
    const query = new URLSearchParams(text);
    // Both are form-encoded within Basic (RFC 6749, 2.3.1).
    const basic = Buffer.from(request.headers.authorization?.replace(/^Basic /, '') ?? '', 'base64').toString();
    if (decodeURIComponent(basic) !== `${issuer.clientId}:${issuer.clientSecret}`)
      return answer(response, 401, { error: 'invalid_client' });
    const known = codes.get(query.get('code') ?? '');
    if (!issuer.forgetful) codes.delete(query.get('code') ?? '');
    const challenge = createHash('sha256')
      .update(query.get('code_verifier') ?? '')
      .digest('base64url');
    if (!known || known.challenge !== challenge || query.get('redirect_uri') !== redirectUri())
      return answer(response, 400, { error: 'invalid_grant' });
    const claims = { aud: issuer.clientId, nonce: known.nonce, ...issuer.claims };
    const id_token = await issuer.sign(issuer.spoil?.(claims) ?? claims);
    return answer(response, 200, { access_token: 'unused', token_type: 'Bearer', id_token });
  }

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const issuer: FakeIssuer = {
    url: `https://localhost:${(server.address() as AddressInfo).port}`,
    ...{
      clientId: 'clawdy-edge',
      clientSecret: randomBytes(24).toString('base64url'),
      spoil: undefined,
      jwk,
      forgetful: false,
    },
    claims: { sub: '1', email: 'owner@example.com', email_verified: true },
    sign: (claims, { expires, notBefore } = {}) => {
      const now = Math.floor(Date.now() / 1000);
      const full = { iss: issuer.url, sub: '1', iat: now, exp: expires ?? now + 600, ...claims };
      const made = new SignJWT(notBefore ? { ...full, nbf: notBefore } : full);
      return made.setProtectedHeader({ alg: 'RS256', kid: KID }).sign(privateKey);
    },
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return issuer;
}
