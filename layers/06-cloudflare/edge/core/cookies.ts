/** Our cookies, and how they are kept apart from an instance's. */

/** `__Host-`: a browser takes it only from this very host, Secure, for all paths (RFC 6265bis, 4.1.3.2). */
export const COOKIES = { session: '__Host-clawdy', login: '__Host-clawdy-login' } as const;

/** Cookies that are the proxy's or Cloudflare Access', compared in lower case. */
const isOurs = (name: string) => /^(__host-clawdy|cf_authorization|cf_appsession)/.test(name.trim().toLowerCase());

const parts = (header: string | null) => (header ?? '').split(';').filter((part) => part.trim() !== '');
const nameOf = (part: string) => (part.split('=')[0] ?? '').trim();

/** @returns its value; undefined where there is none, and where there are several: one of them was planted. */
export function readCookie(headers: Headers, name: string): string | undefined {
  const found = parts(headers.get('cookie')).filter((part) => nameOf(part) === name);
  const [only] = found;
  return found.length === 1 && only ? only.slice(only.indexOf('=') + 1).trim() : undefined;
}

/** @returns the Cookie header for an instance, without ours; undefined if nothing is left. */
export function cookiesForOrigin(header: string | null): string | undefined {
  const kept = parts(header).filter((part) => !isOurs(nameOf(part)));
  return kept.length ? kept.map((part) => part.trim()).join('; ') : undefined;
}

/**
 * @param setCookie one that an instance sends.
 * @returns it for this host alone; undefined for one with a name of ours, also where the name hides in a nameless cookie's
 * value, which browsers send back as if it were the name.
 */
export function cookieForBrowser(setCookie: string): string | undefined {
  const [pair = '', ...attributes] = setCookie.split(';');
  const name = nameOf(pair);
  if (isOurs(name) || (name === '' && isOurs(pair.trim().replace(/^=+/, '')))) return undefined;
  return [pair, ...attributes.filter((attribute) => nameOf(attribute).toLowerCase() !== 'domain')].join(';');
}

/** A Set-Cookie of ours. `Lax`: it must come along when the issuer sends somebody back. @param seconds 0 removes it. */
export function ourCookie(name: string, value: string, seconds: number): string {
  return `${name}=${value}; Path=/; Max-Age=${seconds}; Secure; HttpOnly; SameSite=Lax`;
}
