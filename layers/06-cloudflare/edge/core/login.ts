/**
 * Signing in, on an instance's or app's own host. A login that is begun here leaves a secret in this browser (`binding`); the
 * auth host's ticket names its digest. So a ticket opens a session once, on one host, in the one browser that asked for it.
 */
import { base64url } from 'jose';
import { OWN_PATHS } from '../../../../src/contract/edge.ts';
import { COOKIES, ourCookie, readCookie } from './cookies.ts';
import { PAGES, page, redirect, word } from './pages.ts';
import { backPath } from './paths.ts';
import { authHost, type InstancePlace } from './place.ts';
import { wantsPage } from './provenance.ts';
import type { Runtime } from './runtime.ts';
import { open, seal } from './sealed.ts';
import { sessionOf } from './session.ts';

/** Seconds between asking to sign in and having done so: a password, a second factor. */
export const LOGIN_SECONDS = 600;

const ACCESS_LOGOUT = '/cdn-cgi/access/logout';

/** @returns what a digest of the binding is called in URLs and tickets. */
async function digestOf(binding: string): Promise<string> {
  return base64url.encode(new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(binding))));
}

/** Answers what is below `/.clawdy/` on a host of an instance. */
export async function ownPath(runtime: Runtime, request: Request, url: URL, place: InstancePlace): Promise<Response> {
  const access = runtime.config.signIn.mode === 'access';
  const call = `${request.method} ${url.pathname.slice(OWN_PATHS.length - 1)}`;
  if (call === 'GET /') return account(runtime, request, place);
  if (call === 'POST /logout') return logout(runtime, request, place);
  if (call === 'GET /login' && !access) return login(runtime, url, place);
  if (call === 'GET /session' && !access) return session(runtime, request, url, place);
  return word(404, 'not_found');
}

async function account(runtime: Runtime, request: Request, place: InstancePlace): Promise<Response> {
  const session = await sessionOf(runtime, request, place);
  if (session) return page(PAGES.account(session.user));
  return signIn(runtime, request, OWN_PATHS);
}

/** @param path where somebody wanted to go. */
export function signIn({ config }: Runtime, request: Request, path: string): Promise<Response> | Response {
  if (!wantsPage(request)) return word(401, 'sign_in');
  const what = config.signIn.mode === 'access' ? PAGES.noAccess() : PAGES.signIn(backPath(path));
  return page(what, request.method === 'HEAD');
}

async function login(runtime: Runtime, url: URL, { host }: InstancePlace): Promise<Response> {
  const { config, secrets } = runtime;
  const binding = base64url.encode(crypto.getRandomValues(new Uint8Array(32)));
  const claims = { binding, back: backPath(url.searchParams.get('back')) };
  const sealed = await seal(secrets.sessionKeys, 'login', host, claims, runtime.now(), LOGIN_SECONDS);
  const query = new URLSearchParams({ host, bind: await digestOf(binding) });
  const to = `https://${authHost(config)}${OWN_PATHS}authorize?${query}`;
  return redirect(to, [ourCookie(COOKIES.login, sealed, LOGIN_SECONDS)]);
}

async function session(runtime: Runtime, request: Request, url: URL, { host }: InstancePlace): Promise<Response> {
  const { config, secrets, spent } = runtime;
  const now = runtime.now();
  const begun = await open(secrets.sessionKeys, 'login', host, readCookie(request.headers, COOKIES.login), now);
  const ticket = await open(secrets.sessionKeys, 'ticket', host, url.searchParams.get('ticket') ?? undefined, now);
  const forget = ourCookie(COOKIES.login, '', 0);
  const bound = begun && ticket && ticket.bind === (await digestOf(begun.binding));
  if (!bound || !(await spent.spend(ticket.id, ticket.expires))) {
    runtime.log('ticket-refused', { host, reason: !ticket ? 'not-valid' : bound ? 'used' : 'other-browser' });
    return page(PAGES.badLogin(), false, [forget]);
  }
  const { sessionSeconds } = config;
  const sealed = await seal(secrets.sessionKeys, 'session', host, { user: ticket.user }, now, sessionSeconds);
  return redirect(begun.back, [ourCookie(COOKIES.session, sealed, sessionSeconds), forget]);
}

/** Ends the session wherever a copy of its cookie is, open WebSockets included. */
async function logout(runtime: Runtime, request: Request, place: InstancePlace): Promise<Response> {
  // Access' own: it ends the session at Cloudflare.
  if (runtime.config.signIn.mode === 'access') return redirect(ACCESS_LOGOUT);
  const session = await sessionOf(runtime, request, place);
  if (session?.id) await runtime.spent.spend(session.id, session.expires);
  return page(PAGES.signedOut(), false, [ourCookie(COOKIES.session, '', 0)]);
}
