/**
 * Enrolment at the auth proxy (docs/enrolment.md, docs/edge.md): a launch is expected, its box brings a sealed bundle once, the
 * launcher takes it and closes. What is kept of it at each of these moments.
 */
import { z } from 'zod';
import { envelopeSchema, OWN_PATHS } from './edge.ts';
import { BUNDLE_LIMIT, LAUNCH_ID } from './enrolment.ts';

/** On the auth host: boxes post here. */
export const ENROL_PATH = `${OWN_PATHS}enrol`;
/** On the auth host, for operators: a launch each. */
export const ENROLMENTS_PATH = `${OWN_PATHS}enrolments/`;

/** Characters of a request that carries the longest bundle in base64, and what is around it. */
export const ENROL_LIMIT = Math.ceil(BUNDLE_LIMIT / 3) * 4 + 1024;

/** Tries of one address within a minute. A box makes twelve at most (docs/enrolment.md); several may share an address. */
export const ENROL_RATE = { tries: 60, seconds: 60 } as const;

/** Seconds that a launch may be expected for: a week. */
export const LONGEST_EXPECTATION = 7 * 86_400;

const common = {
  version: z.literal(1),
  launchId: z.string().regex(LAUNCH_ID),
  /** Seconds since 1970: after that it is as if it had never been expected. */
  expires: z.number().int().positive(),
};

/** The launch's token under the key-encryption key, which binds launch ID and end as well. */
export const expectedSchema = z.strictObject({
  ...common,
  revision: z.literal(1),
  state: z.literal('expected'),
  token: envelopeSchema,
});

const arrivedSchema = z.strictObject({
  ...common,
  revision: z.literal(2),
  state: z.literal('arrived'),
  token: envelopeSchema,
  /** As the box says; the launcher compares it with what the cloud said. */
  instanceId: z.string().max(128),
  /** Sealed, base64. */
  bundle: z.string(),
});

/** The token is gone; the digest is left, so that a box that missed the acknowledgement gets one. */
export const closedSchema = z.strictObject({
  ...common,
  revision: z.literal(3),
  state: z.literal('closed'),
  bundleSha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .nullable(),
});

export const enrolmentSchema = z.discriminatedUnion('state', [expectedSchema, arrivedSchema, closedSchema]);
export type Enrolment = z.output<typeof enrolmentSchema>;
export type Expectation = z.output<typeof expectedSchema>;

/** What an operator may write; how it arrived is the box's to say. */
export const writableEnrolmentSchema = z.discriminatedUnion('state', [expectedSchema, closedSchema]);

/** What an operator is told: no token. */
export const toldEnrolmentSchema = z.object({
  state: z.enum(['expected', 'arrived', 'closed']),
  expires: z.number(),
  instanceId: z.string().optional(),
  bundle: z.base64().optional(),
});
export type ToldEnrolment = z.output<typeof toldEnrolmentSchema>;

/**
 * age's header for one X25519 recipient and no more, up to its MAC (https://age-encryption.org/v1): what a box makes. Anything
 * else wasn't sealed to a launch's recipient, or to others as well.
 */
export const SEALED =
  /^age-encryption\.org\/v1\n-> X25519 [A-Za-z0-9+/]{43}\n[A-Za-z0-9+/]{43}\n--- [A-Za-z0-9+/]{43}\n/;
