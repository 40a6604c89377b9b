import * as oauth from 'oauth4webapi';
import { AUTH_SLUG, OWN_PATH } from '../../../../src/contract/edge.ts';
import { USER_PATTERN } from '../../../../src/contract/gate.ts';
import { digest, toBase64url } from './envelope.ts';
import { isNavigation, pathWithin } from './guard.ts';
import { OWN_COOKIE } from './headers.ts';
import { originOf, placeOf } from './hosts.ts';
import { page } from './pages.ts';
import type { Runtime } from './runtime.ts';
import { cookie, cookieOf, seal, unseal } from './session.ts';

/** Seconds that somebody has for signing in at their provider, and that a ticket is on its way. */
const SIGN_IN_S = 600;
const TICKET_S = 60;
const SIGNING_IN = `${OWN_COOKIE}-sign-in`;
const WAITING = `${OWN_COOKIE}-wait`;

/** Seconds; a provider's own addresses hardly ever change. */
const DISCOVERED_MS = 600_000;
const discovered = new Map<string, { at: number; server: oauth.AuthorizationServer }>();

type Oidc = Extract<Runtime['config']['session'], { kind: 'oidc' }>;

/**
 * People sign in at one host, `auth.<UI domain>`, the only one that their provider has to know. Whoever needs a session on another host
 * gets a ticket from there: sealed, for that host and for the browser that asked, which has a cookie whose digest the ticket names. So a
 * ticket that is seen, or sent to somebody else, opens nothing.
 */
export async function ownPath(
  runtime: Runtime,
  request: Request,
  url: URL,
  host: string,
  isAuthHost: boolean,
): Promise<Response> {
  const path = url.pathname.slice(OWN_PATH.length);
  const { session } = runtime.config;
  if (request.method !== 'GET' || session.kind !== 'oidc') return page('no-such', isNavigation(request));
  try {
    if (path === 'sign-out') return signOut(host);
    if (isAuthHost && path === 'sign-in') return await toProvider(runtime, session, url);
    if (isAuthHost && path === 'callback') return await fromProvider(runtime, session, request, url, host);
    if (!isAuthHost && path === 'sign-in') return await askForTicket(runtime, url, host);
    if (!isAuthHost && path === 'session') return await takeTicket(runtime, session, request, url, host);
  } catch (error) {
    // Its words could hold what a provider or a visitor sent.
    runtime.log(`sign-in failed at ${path}: ${error instanceof Error ? error.name : 'error'}`);
    const link = { href: '/', text: 'Try again' };
    return page('sign-in-failed', true, isAuthHost ? undefined : link, { 'set-cookie': cookie(SIGNING_IN, '', 0) });
  }
  return page('no-such', isNavigation(request));
}

/** Where a page's link to sign in leads. */
export const signInLink = (url: URL) =>
  `${OWN_PATH}sign-in?to=${encodeURIComponent(pathWithin(url.pathname + url.search))}`;

const redirect = (to: string, ...cookies: string[]) => {
  const headers = new Headers({ location: to, 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' });
  for (const one of cookies) headers.append('set-cookie', one);
  return new Response(null, { status: 302, headers });
};

function signOut(host: string): Response {
  const gone = page('signed-out', true, { href: originOf(host), text: 'Sign in again' });
  gone.headers.append('set-cookie', cookie(OWN_COOKIE, '', 0));
  return gone;
}

const authOrigin = ({ config: { uiDomain, port } }: Runtime) =>
  originOf(`${AUTH_SLUG}.${uiDomain}${port === 443 ? '' : `:${port}`}`);

async function askForTicket(runtime: Runtime, url: URL, host: string): Promise<Response> {
  const waiting = toBase64url(crypto.getRandomValues(new Uint8Array(32)));
  const to = new URL(`${authOrigin(runtime)}${OWN_PATH}sign-in`);
  to.searchParams.set('host', host);
  to.searchParams.set('for', toBase64url(await digest(waiting)));
  to.searchParams.set('to', pathWithin(url.searchParams.get('to')));
  return redirect(to.href, cookie(WAITING, waiting, SIGN_IN_S));
}

async function toProvider(runtime: Runtime, session: Oidc, url: URL): Promise<Response> {
  const { searchParams } = url;
  const target = searchParams.get('host') ?? '';
  const waiting = searchParams.get('for') ?? '';
  const place = URL.canParse(originOf(target))
    ? placeOf(new URL(originOf(target)), runtime.config)
    : { kind: 'none' as const };
  if (place.kind === 'none' || place.kind === 'auth' || place.host !== target || !/^[A-Za-z0-9_-]{43}$/.test(waiting))
    return page('no-such', true);
  const server = await discover(session);
  const [state, nonce, verifier] = [
    oauth.generateRandomState(),
    oauth.generateRandomNonce(),
    oauth.generateRandomCodeVerifier(),
  ];
  const to = new URL(server.authorization_endpoint as string);
  to.searchParams.set('client_id', session.clientId);
  to.searchParams.set('redirect_uri', callback(runtime));
  to.searchParams.set('response_type', 'code');
  to.searchParams.set('scope', 'openid email');
  to.searchParams.set('state', state);
  to.searchParams.set('nonce', nonce);
  to.searchParams.set('code_challenge', await oauth.calculatePKCECodeChallenge(verifier));
  to.searchParams.set('code_challenge_method', 'S256');
  const kept = { state, nonce, verifier, target, waiting, path: pathWithin(searchParams.get('to')) };
  const sealed = await seal('sign-in', new URL(authOrigin(runtime)).host, kept, SIGN_IN_S, runtime.secrets);
  return redirect(to.href, cookie(SIGNING_IN, sealed, SIGN_IN_S));
}

async function fromProvider(
  runtime: Runtime,
  session: Oidc,
  request: Request,
  url: URL,
  host: string,
): Promise<Response> {
  const kept = (await unseal('sign-in', host, cookieOf(request, SIGNING_IN) ?? '', runtime.secrets)) as Record<
    string,
    string
  >;
  const { state, nonce, verifier, target, waiting, path } = kept as Record<
    'state' | 'nonce' | 'verifier' | 'target' | 'waiting' | 'path',
    string
  >;
  const server = await discover(session);
  const client: oauth.Client = { client_id: session.clientId };
  const parameters = oauth.validateAuthResponse(server, client, url, state);
  const secret = runtime.secrets.client ? oauth.ClientSecretBasic(runtime.secrets.client) : oauth.None();
  const options = { [oauth.allowInsecureRequests]: session.insecure };
  const answer = await oauth.authorizationCodeGrantRequest(
    server,
    client,
    secret,
    parameters,
    callback(runtime),
    verifier,
    options,
  );
  const tokens = await oauth.processAuthorizationCodeResponse(server, client, answer, {
    expectedNonce: nonce,
    requireIdToken: true,
  });
  // Its signature as well, not the connection alone.
  await oauth.validateApplicationLevelSignature(server, answer, options);
  const { email, email_verified }: Partial<oauth.IDToken> = oauth.getValidatedIdTokenClaims(tokens) ?? {};
  if (typeof email !== 'string' || email_verified !== true || !USER_PATTERN.test(email))
    throw new Error('no verified address');
  const ticket = await seal('ticket', target, { sub: email.toLowerCase(), waiting, path }, TICKET_S, runtime.secrets);
  return redirect(`${originOf(target)}${OWN_PATH}session?ticket=${ticket}`, cookie(SIGNING_IN, '', 0));
}

async function takeTicket(
  runtime: Runtime,
  session: Oidc,
  request: Request,
  url: URL,
  host: string,
): Promise<Response> {
  const { sub, waiting, path } = await unseal('ticket', host, url.searchParams.get('ticket') ?? '', runtime.secrets);
  const mine = cookieOf(request, WAITING);
  if (!mine || toBase64url(await digest(mine)) !== waiting) throw new Error("another browser's ticket");
  const sealed = await seal('session', host, { sub }, session.seconds, runtime.secrets);
  return redirect(pathWithin(path as string), cookie(OWN_COOKIE, sealed, session.seconds), cookie(WAITING, '', 0));
}

const callback = (runtime: Runtime) => `${authOrigin(runtime)}${OWN_PATH}callback`;

async function discover({ issuer, insecure }: Oidc): Promise<oauth.AuthorizationServer> {
  const known = discovered.get(issuer);
  if (known && known.at > Date.now() - DISCOVERED_MS) return known.server;
  const at = new URL(issuer);
  const server = await oauth.processDiscoveryResponse(
    at,
    await oauth.discoveryRequest(at, { [oauth.allowInsecureRequests]: insecure }),
  );
  discovered.set(issuer, { at: Date.now(), server });
  return server;
}
