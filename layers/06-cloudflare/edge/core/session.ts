import { createRemoteJWKSet, EncryptJWT, jwtDecrypt, jwtVerify } from 'jose';
import type { EdgeConfig, EdgeSecrets } from '../../../../src/contract/edge.ts';
import { USER_PATTERN } from '../../../../src/contract/gate.ts';
import { fromBase64url } from './envelope.ts';
import { OWN_COOKIE } from './headers.ts';

/** Who asks, and until when that is known, in seconds since 1970. */
export interface Session {
  user: string;
  until: number;
}

/** What is sealed: each kind is good for its own purpose and host alone. */
export type Kind = 'session' | 'ticket' | 'sign-in' | 'wait';

/** Seconds that two clocks may differ by. */
const LEEWAY_S = 5;

const jwks = new Map<string, ReturnType<typeof createRemoteJWKSet>>();
/** Kept between requests: it is fetched at most every half minute, and again for a key that isn't known (jose's own defaults). */
function keysOf(url: string) {
  const known = jwks.get(url) ?? createRemoteJWKSet(new URL(url));
  jwks.set(url, known);
  return known;
}

/**
 * Who asks. By Access: its header, never its cookie, which pages could set; by our own sign-in: a cookie that this host was given.
 * @returns undefined for nobody; why, is logged.
 */
export async function sessionOf(
  request: Request,
  host: string,
  config: EdgeConfig,
  secrets: EdgeSecrets,
  log: (line: string) => void,
): Promise<Session | undefined> {
  try {
    if (config.session.kind === 'oidc') {
      const sealed = cookieOf(request, OWN_COOKIE);
      if (!sealed) return undefined;
      const { sub, exp } = await unseal('session', host, sealed, secrets);
      return typeof sub === 'string' && exp ? { user: sub, until: exp } : undefined;
    }
    const { issuer, audiences } = config.session;
    const token = request.headers.get('cf-access-jwt-assertion');
    if (!token) return undefined;
    // https://developers.cloudflare.com/cloudflare-one/access-controls/applications/http-apps/authorization-cookie/validating-json/
    const { payload } = await jwtVerify(token, keysOf(`${issuer}/cdn-cgi/access/certs`), {
      ...{ issuer, audience: audiences, algorithms: ['RS256'], clockTolerance: LEEWAY_S },
      requiredClaims: ['exp', 'iat', 'email', 'sub'],
    });
    const { email, exp } = payload as { email?: unknown; exp: number };
    return typeof email === 'string' && USER_PATTERN.test(email)
      ? { user: email.toLowerCase(), until: exp }
      : undefined;
  } catch (error) {
    log(`session refused: ${error instanceof Error ? error.name : 'error'}`);
    return undefined;
  }
}

export function cookieOf({ headers }: Request, name: string): string | undefined {
  const pairs = (headers.get('cookie') ?? '').split(';').map((pair) => pair.trim());
  const values = pairs.filter((pair) => pair.startsWith(`${name}=`)).map((pair) => pair.slice(name.length + 1));
  // Of two, one isn't ours.
  return values.length === 1 ? values[0] : undefined;
}

/** `__Host-`: for this very host, over TLS, whatever a sibling sets. */
export const cookie = (name: string, value: string, seconds: number) =>
  `${name}=${value}; Path=/; Max-Age=${seconds}; Secure; HttpOnly; SameSite=Lax`;

/** @param host whose it is: it opens nowhere else. */
export function seal(
  kind: Kind,
  host: string,
  claims: Record<string, unknown>,
  seconds: number,
  secrets: EdgeSecrets,
): Promise<string> {
  return new EncryptJWT(claims)
    .setProtectedHeader({ alg: 'dir', enc: 'A256GCM', typ: kind })
    .setIssuedAt()
    .setExpirationTime(`${seconds}s`)
    .setAudience(host)
    .setIssuer(`clawdy-${kind}`)
    .encrypt(fromBase64url(secrets.session));
}

/** @throws where it isn't of this kind, for this host, or over. */
export async function unseal(kind: Kind, host: string, sealed: string, secrets: EdgeSecrets) {
  const { payload } = await jwtDecrypt(sealed, fromBase64url(secrets.session), {
    ...{ audience: host, issuer: `clawdy-${kind}`, typ: kind },
    ...{ keyManagementAlgorithms: ['dir'], contentEncryptionAlgorithms: ['A256GCM'], requiredClaims: ['exp'] },
  });
  return payload;
}
