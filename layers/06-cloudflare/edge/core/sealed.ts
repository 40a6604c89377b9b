/**
 * What is handed to a browser and comes back: sessions, logins in flight, tickets. JWE with `dir` and A256GCM by jose; each
 * kind has its own `aud`, so that none is good for another, and names the host that it is for.
 */
import { base64url, EncryptJWT, jwtDecrypt } from 'jose';
import type { KeyRing } from '../../../../src/contract/edge.ts';

/** `session`: who somebody is on one host. `login`: a login begun there. `authorize`: the same on the auth host. */
export type Kind = 'session' | 'login' | 'authorize' | 'ticket';

interface Claims {
  session: { user: string };
  login: { binding: string; back: string };
  authorize: { host: string; bind: string; state: string; nonce: string; verifier: string };
  ticket: { user: string; bind: string };
}

export type Opened<K extends Kind> = Claims[K] & { id: string; expires: number };

const ALGORITHM = { alg: 'dir', enc: 'A256GCM' } as const;

/**
 * @param host the only one on which it opens.
 * @param seconds until it doesn't open any more.
 */
export async function seal<K extends Kind>(
  ring: KeyRing,
  kind: K,
  host: string,
  claims: Claims[K],
  now: number,
  seconds: number,
): Promise<string> {
  const [first] = ring;
  if (!first) throw new Error('no session key');
  return new EncryptJWT({ ...claims })
    .setProtectedHeader({ ...ALGORITHM, kid: first.id })
    .setAudience(`${kind}@${host}`)
    .setJti(crypto.randomUUID())
    .setIssuedAt(now)
    .setExpirationTime(now + seconds)
    .encrypt(base64url.decode(first.key));
}

/** @returns undefined for everything that isn't a living one of this kind and host. */
export async function open<K extends Kind>(
  ring: KeyRing,
  kind: K,
  host: string,
  sealed: string | undefined,
  now: number,
): Promise<Opened<K> | undefined> {
  if (!sealed) return undefined;
  try {
    const { payload } = await jwtDecrypt(sealed, ({ kid }) => keyOf(ring, kid), {
      ...{ keyManagementAlgorithms: [ALGORITHM.alg], contentEncryptionAlgorithms: [ALGORITHM.enc] },
      ...{ audience: `${kind}@${host}`, requiredClaims: ['exp', 'jti'], currentDate: new Date(now * 1000) },
    });
    return { ...(payload as unknown as Claims[K]), id: String(payload.jti), expires: Number(payload.exp) };
  } catch {
    return undefined;
  }
}

function keyOf(ring: KeyRing, kid: string | undefined): Uint8Array {
  const found = ring.find(({ id }) => id === kid);
  if (!found) throw new Error('unknown key');
  return base64url.decode(found.key);
}
