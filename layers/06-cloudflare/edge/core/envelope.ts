import type { Sealed } from '../../../../src/contract/edge.ts';

/** Of AES-GCM (NIST SP 800-38D). */
const IV_BYTES = 12;
const KEY_BYTES = 32;

export const toBase64url = (bytes: Uint8Array): string =>
  btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '');

export function fromBase64url(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

const aes = (key: Uint8Array<ArrayBuffer>) =>
  crypto.subtle.importKey('raw', key, 'AES-GCM', false, ['encrypt', 'decrypt']);
const bound = (label: string, slug: string) => new TextEncoder().encode(`clawdy-${label}-v1\n${slug}`);

async function encrypt(
  key: Uint8Array<ArrayBuffer>,
  data: Uint8Array<ArrayBuffer>,
  additionalData: Uint8Array<ArrayBuffer>,
): Promise<string> {
  const iv = crypto.getRandomValues(new Uint8Array(IV_BYTES));
  const sealed = await crypto.subtle.encrypt({ name: 'AES-GCM', iv, additionalData }, await aes(key), data);
  return toBase64url(new Uint8Array([...iv, ...new Uint8Array(sealed)]));
}

async function decrypt(
  key: Uint8Array<ArrayBuffer>,
  text: string,
  additionalData: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = fromBase64url(text);
  const iv = bytes.slice(0, IV_BYTES);
  return new Uint8Array(
    await crypto.subtle.decrypt({ name: 'AES-GCM', iv, additionalData }, await aes(key), bytes.slice(IV_BYTES)),
  );
}

/** Seals a code for the registry, under a key of its own. @param keys by their IDs, base64url. */
export async function sealCode(slug: string, code: string, kid: string, keys: Record<string, string>): Promise<Sealed> {
  const own = crypto.getRandomValues(new Uint8Array(KEY_BYTES));
  return {
    kid,
    key: await encrypt(keyOf(kid, keys), own, bound('key', slug)),
    code: await encrypt(own, new TextEncoder().encode(code), bound('code', slug)),
  };
}

/** @throws Error, which holds nothing of it, where it is another slug's or sealed by a key that isn't known. */
export async function openCode(
  slug: string,
  { kid, key, code }: Sealed,
  keys: Record<string, string>,
): Promise<string> {
  try {
    const own = await decrypt(keyOf(kid, keys), key, bound('key', slug));
    return new TextDecoder().decode(await decrypt(own, code, bound('code', slug)));
  } catch {
    throw new Error(`the code of ${slug} can't be opened by key ${kid}`);
  }
}

function keyOf(kid: string, keys: Record<string, string>): Uint8Array<ArrayBuffer> {
  const key = Object.hasOwn(keys, kid) ? keys[kid] : undefined;
  if (key === undefined) throw new Error('no such key');
  return fromBase64url(key);
}

/** Whether two texts are the same, in a time that says nothing of where they aren't. */
export async function sameText(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([one, other].map(digest));
  return (a as Uint8Array).reduce((odd, byte, at) => odd | (byte ^ ((b as Uint8Array)[at] as number)), 0) === 0;
}

/** SHA-256. */
export async function digest(text: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text)));
}
