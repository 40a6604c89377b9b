import { GATE_HEADERS } from '../../../../src/contract/gate.ts';

/** Of one connection alone: RFC 9110, 7.6.1. `Upgrade` is set anew for WebSockets, and nobody waits for a 100. */
const HOP = [
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'expect',
];

/** By which a visitor could pretend to be somebody; the gate takes off the same. */
const PRETENCES =
  /^(x-clawdy-|x-openclaw-|x-forwarded-|x-original-|x-rewrite-|cf-|x-real-ip$|x-client-ip$|x-cluster-client-ip$|true-client-ip$|forwarded$|via$|cdn-loop$|host$|x-http-method)/;

/** Cookies by which the proxy, or Access, knows somebody; nobody behind the proxy ever sees one. */
export const OWN_COOKIE = '__Host-clawdy';
const isOwnCookie = (name: string) =>
  name.startsWith(OWN_COOKIE) || /^CF_(Authorization|AppSession|Session|Binding|Access)/i.test(name);

export interface Bearer {
  code: string;
  user: string;
  /** Of an app; undefined for OpenClaw itself. */
  port: number | undefined;
  /** `https://host`, as the visitor sees it. */
  origin: string;
}

/** The visitor's headers, without what isn't theirs to say, and with what only the proxy may. */
export function towardsGate(visitor: Headers, { code, user, port, origin }: Bearer): Headers {
  const named = (visitor.get('connection') ?? '').split(',').map((name) => name.trim().toLowerCase());
  const headers = new Headers();
  for (const [name, value] of visitor) {
    const odd = !/^[a-z0-9-]+$/.test(name) || PRETENCES.test(name) || HOP.includes(name) || named.includes(name);
    if (!odd && name !== 'cookie') headers.append(name, value);
  }
  const cookies = (visitor.get('cookie') ?? '').split(';').map((pair) => pair.trim());
  const kept = cookies.filter((pair) => pair && !isOwnCookie(pair.split('=')[0] as string));
  if (kept.length) headers.set('cookie', kept.join('; '));
  headers.set('x-forwarded-host', new URL(origin).host);
  headers.set(GATE_HEADERS.code, code);
  headers.set(GATE_HEADERS.user, user);
  if (port !== undefined) headers.set(GATE_HEADERS.port, String(port));
  return headers;
}

/** What comes back, without what only the proxy may say to a browser, and never kept where others could get it. */
export function towardsVisitor(origin: Headers): Headers {
  const headers = new Headers();
  for (const [name, value] of origin) {
    if (HOP.includes(name) || /^(x-clawdy-|cf-|set-cookie$|alt-svc$)/.test(name)) continue;
    headers.append(name, value);
  }
  for (const cookie of origin.getSetCookie()) {
    const [pair = '', ...attributes] = cookie.split(';').map((part) => part.trim());
    if (isOwnCookie(pair.split('=')[0] as string)) continue;
    // Another instance of this domain would get it, too.
    const kept = attributes.filter((attribute) => !/^domain\s*=/i.test(attribute));
    headers.append('set-cookie', [pair, ...kept].join('; '));
  }
  const cache = headers.get('cache-control') ?? '';
  if (!/\b(private|no-store)\b/i.test(cache)) headers.set('cache-control', 'private, no-cache');
  return headers;
}
