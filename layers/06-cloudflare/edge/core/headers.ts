/** Which headers go through, there and back. */
import { GATE_HEADERS } from '../../../../src/contract/gate.ts';
import { cookieForBrowser, cookiesForOrigin } from './cookies.ts';

/** For one hop only (RFC 9110, 7.6.1), and what a proxy answers itself. */
const HOP = [
  ...['connection', 'keep-alive', 'proxy-connection', 'proxy-authenticate', 'proxy-authorization', 'te', 'trailer'],
  ...['transfer-encoding', 'upgrade', 'expect', 'http2-settings', 'host', 'content-length'],
];

/** By which somebody could pretend to be another, or to come from elsewhere. */
const CLAIMS = [
  ...[
    'forwarded',
    'via',
    'true-client-ip',
    'cdn-loop',
    'x-real-ip',
    'x-client-ip',
    'x-cluster-client-ip',
    'x-proxyuser-ip',
  ],
  ...[
    'x-host',
    'x-rewrite-url',
    'x-http-host-override',
    'x-http-method-override',
    'x-http-method',
    'x-method-override',
  ],
];
const CLAIM_PREFIXES = [
  'x-clawdy-',
  'x-openclaw-',
  'x-forwarded-',
  'x-original-',
  'x-auth-request-',
  'cf-',
  'x-webauth-',
];

/** What a WebSocket's handshake is made of anew at each hop. */
const HANDSHAKE = ['sec-websocket-key', 'sec-websocket-version', 'sec-websocket-extensions', 'sec-websocket-accept'];

/** What belongs to somebody in between, or leads browsers past this proxy. */
const ANSWER_CLAIMS = [
  'alt-svc',
  'cdn-cache-control',
  'cloudflare-cdn-cache-control',
  'surrogate-control',
  'age',
  'via',
];

/** Names that Connection makes hop-by-hop. */
const named = (headers: Headers) =>
  (headers.get('connection') ?? '').split(',').map((name) => name.trim().toLowerCase());

/**
 * Request headers for a gate: the visitor's less all that could fake something, then ours, each once.
 * @param port of an app.
 */
export function headersForGate(from: Headers, code: string, user: string, port?: number): Headers {
  const dropped = new Set([...HOP, ...HANDSHAKE, ...CLAIMS, ...named(from), 'cookie']);
  const headers = new Headers();
  for (const [name, value] of from) {
    // HAProxy, apps and CGI read `X_Clawdy_User` as they please: only letters, digits and hyphens.
    if (dropped.has(name) || !/^[a-z0-9-]+$/.test(name)) continue;
    if (CLAIM_PREFIXES.some((prefix) => name.startsWith(prefix))) continue;
    headers.append(name, value);
  }
  const cookie = cookiesForOrigin(from.get('cookie'));
  if (cookie) headers.set('cookie', cookie);
  headers.set(GATE_HEADERS.code, code);
  headers.set(GATE_HEADERS.user, user);
  if (port !== undefined) headers.set(GATE_HEADERS.port, String(port));
  return headers;
}

/** An instance's response headers for a browser. */
export function headersForBrowser(from: Headers): Headers {
  const dropped = new Set([...HOP, ...ANSWER_CLAIMS, ...named(from), 'set-cookie']);
  // The length is right as long as the body isn't touched, and nobody in between does.
  dropped.delete('content-length');
  const headers = new Headers();
  for (const [name, value] of from) {
    if (!dropped.has(name) && !name.startsWith('x-clawdy-')) headers.append(name, value);
  }
  for (const one of from.getSetCookie()) {
    const cookie = cookieForBrowser(one);
    if (cookie) headers.append('set-cookie', cookie);
  }
  headers.set('cache-control', cacheControl(from.get('cache-control')));
  headers.set('vary', vary(from.get('vary')));
  return headers;
}

/** Everything is one user's: no shared cache may keep it; a browser's own may if the instance says so. */
function cacheControl(said: string | null): string {
  if (!said) return 'private, no-store';
  const kept = said
    .split(',')
    .map((directive) => directive.trim())
    .filter((directive) => directive && !/^(public|private|s-maxage|proxy-revalidate)\b/i.test(directive));
  return ['private', ...kept].join(', ');
}

/** A browser's own cache mustn't show one session's answer in another. */
function vary(said: string | null): string {
  if (said?.split(',').some((name) => ['*', 'cookie'].includes(name.trim().toLowerCase()))) return said;
  return said ? `${said}, Cookie` : 'Cookie';
}
