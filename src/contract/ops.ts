/**
 * The operators' channel (docs/ops.md): what goes to the box and comes back. layers/03-ssh's ops/serve and ops/relay, and the
 * programs in /usr/lib/clawdy/verbs carry the same values; test/unit/contract.test.ts compares the two.
 */
import { z } from 'zod';

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
export const signedAs = (purpose: 'status') => `clawdy-${purpose}-v1\n`;

/** The result of `status`: a text and, where the image has layer 07, the instance key's signature of it in base64. */
export const signedStatusSchema = z.strictObject({ body: z.string(), signature: z.base64().nullable() });

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
});

export type Status = z.output<typeof statusSchema>;
