/**
 * Enrolment: what an instance tells its launcher, sealed, and the forms in which it travels (docs/enrolment.md). The
 * box's boot/seal-bundle and boot/enrol carry the same values; test/unit/enrolment-contract.test.ts compares the two.
 */
import { z } from 'zod';
import { SSH_PORTS } from './box.ts';
import { CODE } from './gate.ts';
import { hexOf } from './text.ts';

/** Of the bundle, of its envelope's MAC and of the enrolment request. */
export const BUNDLE_VERSION = 1;

/** Bytes of a sealed bundle: a real one has two to three thousand; the rest is room for what later layers add. */
export const BUNDLE_LIMIT = 32 * 1024;

/** Begins what is authenticated, so that no MAC of the one kind is ever good for the other. */
export const MAC_LABELS = { bundle: 'clawdy-bundle-v1\n', enrol: 'clawdy-enrol-v1\n' } as const;

/**
 * The bundle on the console: `clawdy: bundle I/N CHUNK` for I from 1 to N, then `clawdy: bundle end sha256=HEX`. CHUNK is
 * the next part of the sealed bundle in base64, SHA-256 is that of the sealed bundle itself. Anything may stand before
 * `clawdy:` on a line (the kernel's time, the unit's name); nothing after the value but a carriage return.
 */
export const BUNDLE_LINES = {
  /** Characters of every chunk but the last, which may have fewer. */
  chunk: 96,
  part: /clawdy: bundle (?<number>[1-9]\d{0,3})\/(?<count>[1-9]\d{0,3}) (?<chunk>[A-Za-z0-9+/]{1,96}={0,2})$/,
  end: /clawdy: bundle end sha256=(?<sha256>[0-9a-f]{64})$/,
} as const;

/** The last line of a boot that ended well or badly: the reason, for `closed`. */
export const VERDICTS = { live: /clawdy: live ok$/m, closed: /clawdy: closed: (?<reason>[^\n]*)/ } as const;

const pem = (label: string) =>
  z
    .string()
    .max(8192)
    .regex(new RegExp(`^-----BEGIN ${label}-----\\n([A-Za-z0-9+/=]{1,76}\\n)+-----END ${label}-----\\n?$`));

export const LAUNCH_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** What the instance says about itself. Closed: what this launcher doesn't know it can't have checked. */
export const bundleSchema = z.strictObject({
  version: z.literal(BUNDLE_VERSION),
  launchId: z.string().regex(LAUNCH_ID),
  instanceId: z.string().regex(/^[A-Za-z0-9._:-]{1,128}$/),
  imageId: z.string().regex(/^[A-Za-z0-9._-]{1,128}$/),
  /** The auth code in the clear: the one secret in here. */
  code: z.string().regex(new RegExp(`^[A-Za-z0-9_-]{${CODE.characters}}$`)),
  ssh: z.strictObject({
    port: z.number().int().min(SSH_PORTS.first).max(SSH_PORTS.last),
    /** As in a known_hosts file, without host and comment. */
    hostKeys: z.array(z.string().regex(/^ssh-ed25519 [A-Za-z0-9+/]{68}$/)).length(1),
  }),
  /** Of layer 02: the certificate that the gate shows, and a request for another. */
  gate: z.strictObject({ certificate: pem('CERTIFICATE'), certificateRequest: pem('CERTIFICATE REQUEST') }).optional(),
  /** Of layer 07: the public half of the key that the instance signs with. */
  instanceKey: pem('PUBLIC KEY').optional(),
});

export type Bundle = z.output<typeof bundleSchema>;

/** What age opens: `mac` is the hex HMAC-SHA256 of the bytes of `body`, by the launch's token. */
export const envelopeSchema = z.strictObject({ body: z.string(), mac: z.string().regex(/^[0-9a-f]{64}$/) });

/** @returns lower-case hex. */
export async function bundleMac(token: string, body: string): Promise<string> {
  const mac = await crypto.subtle.sign('HMAC', await hmacKey(token), bytes(MAC_LABELS.bundle + body));
  return hexOf(new Uint8Array(mac));
}

/** What a box sends to the enrolment URL. 2xx, or 409 for a bundle that is known already, ends its tries. */
export const enrolRequestSchema = z.strictObject({
  version: z.literal(BUNDLE_VERSION),
  launchId: z.string().regex(LAUNCH_ID),
  instanceId: z.string().regex(/^[A-Za-z0-9._:-]{1,128}$/),
  bundle: z.base64().max(Math.ceil(BUNDLE_LIMIT / 3) * 4),
  proof: z.string().regex(/^[0-9a-f]{64}$/),
});
export type EnrolRequest = z.output<typeof enrolRequestSchema>;

/**
 * Whether whoever sends a bundle was given the launch's token: it can be told without opening the bundle. Takes as long for a wrong
 * proof as for a right one.
 * @param bundleSha256 of the sealed bundle, lower-case hex.
 */
export async function isEnrolProof(
  token: string,
  { launchId, instanceId, proof }: Pick<EnrolRequest, 'launchId' | 'instanceId' | 'proof'>,
  bundleSha256: string,
): Promise<boolean> {
  const proven = bytes(`${MAC_LABELS.enrol}${launchId}\n${instanceId}\n${bundleSha256}`);
  const claimed = Uint8Array.from(proof.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
  return crypto.subtle.verify('HMAC', await hmacKey(token), claimed, proven);
}

const bytes = (text: string) => new TextEncoder().encode(text);

/** By what every runtime has: a Worker checks proofs, too. */
function hmacKey(token: string) {
  const algorithm = { name: 'HMAC', hash: 'SHA-256' };
  return crypto.subtle.importKey('raw', bytes(token), algorithm, false, ['sign', 'verify']);
}
