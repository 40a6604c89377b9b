/** Who sends a request. */

import { COOKIES, readCookie } from './cookies.ts';
import type { InstancePlace } from './place.ts';
import type { Runtime } from './runtime.ts';
import { open } from './sealed.ts';
import { verifyToken } from './tokens.ts';

export interface Session {
  user: string;
  /** Seconds since 1970. */
  expires: number;
  /** Of a session that can be ended before its time. */
  id?: string;
}

/** Where Access has its keys (https://developers.cloudflare.com/cloudflare-one/identity/authorization-cookie/validating-json/). */
const ACCESS_KEYS = '/cdn-cgi/access/certs';
const ACCESS_HEADER = 'cf-access-jwt-assertion';

/**
 * Behind Access: by the header that Cloudflare sets, not by the cookie, which a browser chooses. Else by our own cookie.
 * @returns undefined where nobody is signed in.
 */
export async function sessionOf(
  runtime: Runtime,
  request: Request,
  place: InstancePlace,
): Promise<Session | undefined> {
  const { signIn } = runtime.config;
  if (signIn.mode === 'access') {
    const token = request.headers.get(ACCESS_HEADER);
    if (!token) return undefined;
    const audience = place.kind === 'ui' ? signIn.audiences.ui : signIn.audiences.apps;
    const verified = await verifyToken(runtime, signIn, token, `${signIn.issuer}${ACCESS_KEYS}`, audience);
    return verified && { user: verified.user, expires: Number(verified.claims.exp) };
  }
  const cookie = readCookie(request.headers, COOKIES.session);
  const session = await open(runtime.secrets.sessionKeys, 'session', place.host, cookie, runtime.now());
  if (!session || (await runtime.spent.isSpent(session.id))) return undefined;
  return { user: session.user, expires: session.expires, id: session.id };
}
