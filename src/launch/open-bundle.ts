import { timingSafeEqual } from 'node:crypto';
import { Decrypter } from 'age-encryption';
import { z } from 'zod';
import {
  BUNDLE_LIMIT,
  BUNDLE_VERSION,
  type Bundle,
  bundleMac,
  bundleSchema,
  envelopeSchema,
} from '../contract/enrolment.ts';
import { BuildError } from '../process/errors.ts';

/** One launch's side of an enrolment. */
export interface Expected {
  /** The operator's age identity, `AGE-SECRET-KEY-1…`. */
  identity: string;
  /** The launch's one-time token. */
  token: string;
  launchId: string;
  /** As the cloud's own API told it, never as the box does. */
  instanceId: string;
  /** Whether this launch has accepted a bundle before. */
  isTaken: (launchId: string) => boolean;
}

/**
 * Opens a sealed bundle and checks that it is the one that this launch waits for.
 *
 * @throws BuildError with the reason: replayed, oversized, for another recipient, truncated, forged, of an unknown
 * version, of another form, of another launch or instance.
 */
export async function openBundle(sealed: Uint8Array, expected: Expected): Promise<Bundle> {
  if (expected.isTaken(expected.launchId)) {
    throw refused(`launch ${expected.launchId} has accepted a bundle before: this one is a replay`);
  }
  if (sealed.length > BUNDLE_LIMIT) {
    throw refused(`it has ${sealed.length} bytes, at most ${BUNDLE_LIMIT} are read`);
  }
  const envelope = parse(await decrypt(sealed, expected.identity), envelopeSchema, 'its envelope');
  const mac = Buffer.from(await bundleMac(expected.token, envelope.body), 'hex');
  if (!timingSafeEqual(mac, Buffer.from(envelope.mac, 'hex'))) {
    throw refused("it is forged: its MAC isn't one by this launch's token");
  }
  // Before the rest of the form, which belongs to the version.
  const { version } = parse(envelope.body, z.looseObject({ version: z.number() }), 'its body');
  if (version !== BUNDLE_VERSION) {
    throw refused(
      `it has version ${version}, this launcher knows ${BUNDLE_VERSION}`,
      'use the launcher of the image’s own release',
    );
  }
  const bundle = parse(envelope.body, bundleSchema, 'its body');
  if (bundle.launchId !== expected.launchId) {
    throw refused(`it is of launch ${bundle.launchId}, this is ${expected.launchId}`);
  }
  if (bundle.instanceId !== expected.instanceId) {
    throw refused(`it is of instance ${bundle.instanceId}, this is ${expected.instanceId}`);
  }
  return bundle;
}

async function decrypt(sealed: Uint8Array, identity: string): Promise<string> {
  const decrypter = new Decrypter();
  decrypter.addIdentity(identity);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(await decrypter.decrypt(sealed));
  } catch (cause) {
    // The library tells its failures apart by their text alone (age-encryption 0.3, dist/index.js).
    const otherRecipient = cause instanceof Error && cause.message.startsWith('no identity matched');
    throw refused(
      otherRecipient ? "it is sealed to another recipient than this operator's key" : 'it is truncated or damaged',
      otherRecipient ? 'launch with the key that launch.json names as recipient' : undefined,
      cause,
    );
  }
}

/** @throws BuildError naming the members that are wrong, never their values: one of them is the code. */
function parse<Schema extends z.ZodType>(text: string, schema: Schema, what: string): z.output<Schema> {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    throw refused(`${what} isn't JSON`);
  }
  const parsed = schema.safeParse(document);
  if (parsed.success) return parsed.data;
  const places = parsed.error.issues.map(({ path, code }) => `${path.join('.') || 'the whole'} (${code})`);
  throw refused(`${what} has another form: ${[...new Set(places)].slice(0, 5).join(', ')}`);
}

function refused(why: string, hint = 'the instance can’t be trusted: stop it and launch anew', cause?: unknown) {
  return new BuildError('enrolment', `the bundle is refused: ${why}`, hint, { cause });
}
