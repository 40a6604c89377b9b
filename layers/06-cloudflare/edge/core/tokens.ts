/** Tokens of Cloudflare Access or an OIDC issuer: who somebody is. */
import { createRemoteJWKSet, customFetch, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from 'jose';
import type { SignIn } from '../../../../src/contract/edge.ts';
import { USER_PATTERN } from '../../../../src/contract/gate.ts';
import type { Runtime } from './runtime.ts';

/** Keys of issuers by their URL, for as long as the process or isolate lives; jose asks again for one that it doesn't know. */
const keySets = new Map<string, JWTVerifyGetKey>();

/** Seconds that clocks may differ. */
const CLOCK_TOLERANCE = 5;

/** Tokens longer than this aren't looked at: Access' have about 1,000 characters. */
const LONGEST = 16 * 1024;

export interface Verified {
  user: string;
  claims: JWTPayload;
}

/**
 * @param keysUrl where the issuer's keys are.
 * @returns undefined unless signature, the one configured algorithm, issuer, audience and times are right and the token names
 * a user. The log gets the reason, never the token.
 */
export async function verifyToken(
  runtime: Runtime,
  signIn: SignIn,
  token: string,
  keysUrl: string,
  audience: string,
): Promise<Verified | undefined> {
  if (token.length > LONGEST) return undefined;
  try {
    const { payload } = await jwtVerify(token, keysOf(runtime, keysUrl), {
      ...{ algorithms: [signIn.algorithm], issuer: signIn.issuer, audience },
      ...{ requiredClaims: ['exp', 'iat', 'sub'], clockTolerance: CLOCK_TOLERANCE },
      currentDate: new Date(runtime.now() * 1000),
    });
    const user = userOf(payload, signIn);
    if (!user) runtime.log('token-without-user', {});
    return user ? { user, claims: payload } : undefined;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    runtime.log('token-refused', { code });
    return undefined;
  }
}

function keysOf({ fetch }: Runtime, url: string): JWTVerifyGetKey {
  const known = keySets.get(url);
  if (known) return known;
  const made = createRemoteJWKSet(new URL(url), { [customFetch]: (from, init) => fetch(from, init as RequestInit) });
  keySets.set(url, made);
  return made;
}

/**
 * The user as the registry names one. Addresses are compared in lower case, after it is known that they are ASCII: `K` of
 * another alphabet (U+212A) has our k as its lower case.
 */
export function userOf(claims: JWTPayload, signIn: SignIn): string | undefined {
  if (signIn.identity === 'sub') return plain(claims.sub);
  // Access has verified the address by signing somebody in; other issuers must say that they have.
  if (signIn.mode === 'oidc' && claims.email_verified !== true) return undefined;
  return plain(claims.email)?.toLowerCase();
}

const plain = (claim: unknown) => (typeof claim === 'string' && USER_PATTERN.test(claim) ? claim : undefined);
