/**
 * A code at rest in the registry. Each entry has a data key, wrapped by the key-encryption key that only the proxy and the
 * operator have; the rest of the entry is bound as additional data. So whoever can write the registry alone can neither read a
 * code nor have it sent elsewhere, nor share an instance with themselves.
 */
import { base64url } from 'jose';
import type { Envelope, Facts, KeyRing, LiveEntry } from '../../../../src/contract/edge.ts';
import type { Expectation } from '../../../../src/contract/edge-enrolment.ts';
import { CODE } from '../../../../src/contract/gate.ts';

/** Bytes of an IV of AES-GCM (NIST SP 800-38D, 5.2.1.1). */
const IV = 12;
/** Begins what is bound, so that none is good for the other. */
const LABELS = { code: 'clawdy-edge-code-v1\n', token: 'clawdy-edge-token-v1\n' } as const;
/** Both are 32 bytes in base64url. */
const SECRET = new RegExp(`^[A-Za-z0-9_-]{${CODE.characters}}$`);

/** @throws Error where the code is none. */
export async function sealEntry(facts: Facts, code: string, keks: KeyRing): Promise<LiveEntry> {
  return { ...facts, code: await seal('code', facts, code, keks) };
}

/** @throws Error where the key isn't known, or anything in the entry is other than it was sealed with. */
export function openCode({ code, ...facts }: LiveEntry, keks: KeyRing): Promise<string> {
  return open('code', facts, code, keks);
}

type Launch = Pick<Expectation, 'version' | 'launchId' | 'expires'>;

/** A launch's one-time token, for as long as it is expected. @throws Error where the token is none. */
export function sealToken({ version, launchId, expires }: Launch, token: string, keks: KeyRing): Promise<Envelope> {
  return seal('token', { version, launchId, expires }, token, keks);
}

/** @throws Error as openCode does. */
export function openToken({ version, launchId, expires, token }: Launch & { token: Envelope }, keks: KeyRing) {
  return open('token', { version, launchId, expires }, token, keks);
}

async function seal(what: keyof typeof LABELS, facts: object, secret: string, keks: KeyRing): Promise<Envelope> {
  const [kek] = keks;
  if (!kek || !SECRET.test(secret)) throw new Error(`no key-encryption key, or no ${what}`);
  const bound = boundOf(what, facts);
  const dataKey = crypto.getRandomValues(new Uint8Array(32));
  return {
    kek: kek.id,
    key: await encrypt(base64url.decode(kek.key), dataKey, bound),
    data: await encrypt(dataKey, new TextEncoder().encode(secret), bound),
  };
}

async function open(what: keyof typeof LABELS, facts: object, sealed: Envelope, keks: KeyRing): Promise<string> {
  const kek = keks.find(({ id }) => id === sealed.kek);
  if (!kek) throw new Error(`key-encryption key ${sealed.kek} isn't known`);
  const bound = boundOf(what, facts);
  const dataKey = await decrypt(base64url.decode(kek.key), sealed.key, bound);
  const opened = new TextDecoder().decode(await decrypt(dataKey, sealed.data, bound));
  if (!SECRET.test(opened)) throw new Error(`what was sealed isn't a ${what}`);
  return opened;
}

/** All but the secret, in one order whatever the members' order was. */
function boundOf(what: keyof typeof LABELS, facts: object): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(LABELS[what] + JSON.stringify(ordered(facts)));
}

function ordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(ordered);
  if (value === null || typeof value !== 'object') return value;
  const members = Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1));
  return Object.fromEntries(members.map(([name, member]) => [name, ordered(member)]));
}

const imported = (key: Uint8Array) =>
  crypto.subtle.importKey('raw', key as Uint8Array<ArrayBuffer>, 'AES-GCM', false, ['encrypt', 'decrypt']);

async function encrypt(key: Uint8Array, plain: Uint8Array<ArrayBuffer>, bound: Uint8Array<ArrayBuffer>) {
  const iv = crypto.getRandomValues(new Uint8Array(IV));
  const algorithm = { name: 'AES-GCM', iv, additionalData: bound };
  const sealed = new Uint8Array(await crypto.subtle.encrypt(algorithm, await imported(key), plain));
  return base64url.encode(new Uint8Array([...iv, ...sealed]));
}

async function decrypt(key: Uint8Array, text: string, bound: Uint8Array<ArrayBuffer>) {
  const bytes = new Uint8Array(base64url.decode(text));
  const algorithm = { name: 'AES-GCM', iv: bytes.subarray(0, IV), additionalData: bound };
  return new Uint8Array(await crypto.subtle.decrypt(algorithm, await imported(key), bytes.subarray(IV)));
}
