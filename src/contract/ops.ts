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
export type Purpose = 'status' | 'rotation';
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
