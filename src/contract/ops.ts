/**
 * The operators' channel (docs/ops.md): what goes to the box and comes back. layers/03-ssh's ops/serve and ops/relay, and the
 * programs in /usr/lib/clawdy/verbs carry the same values; test/unit/contract.test.ts compares the two.
 */
import { z } from 'zod';
import { CODE } from './gate.ts';

/** The account that reaches the channel, and nothing else. */
export const OPERATORS = { name: 'clawdy-ops', uid: 7863 } as const;

export const OPS_SOCKET = '/run/clawdy-ops.sock';

/** Bytes of a request. */
export const REQUEST_LIMIT = 64 * 1024;

export const VERB = /^[a-z][a-z-]{0,31}$/;

/** What the box says to a request. */
export const answerSchema = z.union([
  z.strictObject({ ok: z.literal(true), verb: z.string(), result: z.json() }),
  z.strictObject({ ok: z.literal(false), error: z.string() }),
]);

/** Begins what the instance key signs, so that no signature of one kind is good for another. */
export type Purpose = 'status' | 'rotation' | 'bans' | 'instance-key' | 'state';
export const signedAs = (purpose: Purpose) => `clawdy-${purpose}-v1\n`;

/** A text and, where the image has layer 07, the instance key's signature of it in base64. */
export const signedSchema = z.strictObject({ body: z.string(), signature: z.base64().nullable() });

/** The text. Open: an image of another age may say more. */
export const statusSchema = z.looseObject({
  version: z.literal(1),
  nonce: z.string(),
  instanceId: z.string(),
  imageId: z.string(),
  /** ISO time by the box's clock. */
  now: z.iso.datetime(),
  uptimeSeconds: z.number().int().nonnegative(),
  /** Why the box closed itself. */
  closed: z.string().nullable(),
  selfcheck: z.strictObject({ static: z.boolean(), live: z.boolean() }),
  /** As `systemctl is-active` says. */
  openclaw: z.string(),
  gate: z.strictObject({ mode: z.string().nullable(), shut: z.string().nullable() }).optional(),
  /** In mode tunnel. `connector` as `systemctl is-active` says: activating until Cloudflare has answered. */
  tunnel: z.strictObject({ token: z.boolean(), connector: z.string() }).optional(),
  /** Whether a key is set. */
  openrouterKey: z.boolean().optional(),
  /** SHA-256 of it, hex. */
  openrouterKeyDigest: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .nullish(),
});

export type Status = z.output<typeof statusSchema>;

const base64 = z.base64().max(8192);
const rotationId = z.string().regex(/^[A-Za-z0-9_-]{12}$/);

/** The result of `rotate-auth-code`, whatever the step: how the instance's codes stand (docs/rotation.md). */
export const rotationSchema = z.strictObject({
  version: z.literal(1),
  nonce: z.string(),
  instanceId: z.string(),
  /**
   * `prepared`: a new code is taken too; dropped after a while. `announced`: until it is committed. `committed`: the old code
   * ends in `secondsLeft`. `closing`: one code counts, and what another let in is being ended.
   */
  phase: z.enum(['none', 'prepared', 'announced', 'committed', 'closing']),
  rotation: rotationId.nullable(),
  /** The new code, sealed to the launch's recipient: sealedCodeSchema, in age's binary form as base64. */
  sealedCode: base64.nullable(),
  /** Whether a request with the new code has gone through. */
  seen: z.boolean(),
  secondsLeft: z.number().int().nonnegative().nullable(),
  /** The code that counts; null since the first boot, whose bundle has it. */
  current: z.strictObject({ rotation: rotationId.nullable(), sealedCode: base64.nullable() }),
});
export type Rotation = z.output<typeof rotationSchema>;

export const sealedCodeSchema = z.strictObject({
  version: z.literal(1),
  instanceId: z.string(),
  rotation: rotationId,
  code: z.string().regex(new RegExp(`^[A-Za-z0-9_-]{${CODE.characters}}$`)),
});

/** Seconds that the old code counts after a commit, unless told otherwise; and the most that the box takes. */
export const OVERLAP_S = { default: 600, most: 24 * 3600 } as const;

const said = {
  version: z.literal(1),
  nonce: z.string(),
  instanceId: z.string(),
};

/** The result of `bans`: the newest of them, and how many it leaves out. */
export const bansSchema = z.strictObject({
  ...said,
  now: z.iso.datetime(),
  bans: z
    .array(
      z.strictObject({
        jail: z.string().regex(/^[a-z][a-z-]{0,31}$/),
        address: z.union([z.ipv4(), z.ipv6(), z.cidrv4(), z.cidrv6()]),
        since: z.iso.datetime(),
        /** Null: for ever. */
        until: z.iso.datetime().nullable(),
      }),
    )
    .max(500),
  more: z.number().int().nonnegative(),
});

const publicKey = z.string().max(400).startsWith('-----BEGIN PUBLIC KEY-----\n');

/** The result of `rotate-instance-key`, signed by `instanceKey`, the one that counts. */
export const instanceKeySchema = z.strictObject({ ...said, instanceKey: publicKey, next: publicKey.nullable() });

/** The result of `state-import`'s `prepare`: to whom another instance seals its state. */
export const stateRecipientSchema = z.strictObject({
  ...said,
  recipient: z.string().regex(/^age1[02-9ac-hj-np-z]{58}$/),
});

/** The result of `state-import`'s `take`. */
export const takenSchema = z.strictObject({
  files: z.number().int().nonnegative(),
  bytes: z.number().int().nonnegative(),
  /** How many entries weren't taken, and some of their names, which may be anything. */
  left: z.number().int().nonnegative(),
  examples: z.array(z.string()).max(20),
});
export type Taken = z.output<typeof takenSchema>;

/** The result of `set-origin-cert`. */
export const originSchema = z.strictObject({
  certificate: z.string().startsWith('-----BEGIN CERTIFICATE-----'),
  certificateRequest: z.string().startsWith('-----BEGIN CERTIFICATE REQUEST-----'),
  until: z.iso.datetime(),
});
