/**
 * What the auth proxy (layers/06-cloudflare/edge) and whoever sets it up agree on: its settings, and what its registry says of
 * an instance (docs/edge.md).
 */
import { z } from 'zod';
import { APP_PORTS, RESERVED_PORTS, USER_PATTERN } from './gate.ts';

/**
 * An instance's name in host names. With the longest port and its hyphens it must fit a DNS label (63); two hyphens in a row
 * part port and name, so a name has none.
 */
export const SLUG_PATTERN = /^(?!.*--)[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$/;

/** Host names below our domains that are no instance's. */
export const RESERVED_SLUGS = ['auth', 'www'] as const;

/** Paths of every host that the proxy answers itself. They never reach an instance. */
export const OWN_PATHS = '/.clawdy/';

/** @returns whether an app may have the port: not root's, not ours, not SSH's. */
export function isAppPort(port: number): boolean {
  const reserved = RESERVED_PORTS.some(({ first, last }) => port >= first && port <= last);
  return Number.isInteger(port) && port >= APP_PORTS.first && port <= APP_PORTS.last && !reserved;
}

const slug = z
  .string()
  .regex(SLUG_PATTERN)
  .refine((name) => !(RESERVED_SLUGS as readonly string[]).includes(name), 'is reserved');
const user = z.string().regex(USER_PATTERN);
const base64url = z.string().regex(/^[A-Za-z0-9_-]+$/);
const keyId = z.string().regex(/^[a-z0-9-]{1,32}$/);
export const domainSchema = z
  .string()
  .regex(/^(?=.{4,180}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]$/);
/** Seconds since 1970 don't do: two changes in one second need an order. */
const revision = z.number().int().positive();

/** A code under a key of its own, and that key under the key-encryption key `kek`. Each part: 12 bytes of IV, then AES-256-GCM. */
export const envelopeSchema = z.strictObject({ kek: keyId, key: base64url.max(128), data: base64url.max(256) });
export type Envelope = z.output<typeof envelopeSchema>;

/** What is said of an instance in the clear. Whoever changes it without the key-encryption key breaks the envelope. */
export const factsSchema = z.strictObject({
  version: z.literal(1),
  slug,
  /** Grows with each change: of two entries the higher one counts. */
  revision,
  state: z.literal('live'),
  instanceId: z.string().regex(/^[A-Za-z0-9._:-]{1,128}$/),
  origin: z.strictObject({
    /** A host name or address. For the Worker a host name of the zone, without which Cloudflare doesn't reach it. */
    host: z.string().regex(/^[A-Za-z0-9.:-]{1,253}$/),
    port: z.number().int().min(1).max(65_535).default(443),
    /** The same instance by a name of the apps' zone: a Worker asks it there for apps, and has no other way. */
    appsHost: domainSchema.optional(),
    /** The gate's certificate, PEM. The Node server takes no other; a Worker can't be told (Cloudflare judges by its rules). */
    certificate: z.string().max(8192).startsWith('-----BEGIN CERTIFICATE-----'),
  }),
  owner: user,
  /** Who may use the instance beside its owner; not its apps. */
  shares: z.array(user).max(64),
  /** Apps that others than the owner may use. The owner reaches every port that an app may have. */
  apps: z
    .array(
      z.strictObject({ port: z.number().refine(isAppPort, "isn't a port of an app"), shares: z.array(user).max(64) }),
    )
    .max(64),
});
export type Facts = z.output<typeof factsSchema>;

export const liveSchema = factsSchema.extend({ code: envelopeSchema });
/** What is left of a revoked instance: that nothing older comes back. */
export const revokedSchema = z.strictObject({ version: z.literal(1), slug, revision, state: z.literal('revoked') });
export const entrySchema = z.discriminatedUnion('state', [liveSchema, revokedSchema]);
export type LiveEntry = z.output<typeof liveSchema>;
export type Entry = z.output<typeof entrySchema>;

/** Bytes of an entry as JSON: 64 apps with 64 users each don't fit, and nobody has them. */
export const ENTRY_LIMIT = 128 * 1024;

const issuer = z.url({ protocol: /^https$/ }).refine((url) => !/[?#]/.test(url), 'has a query or fragment');

/** Who says who somebody is, and which claim of the token is the user. */
const identity = z.enum(['email', 'sub']).default('email');
/** One, so that no token chooses: Access signs with RS256. */
const algorithm = z.enum(['RS256', 'ES256']).default('RS256');

export const signInSchema = z.discriminatedUnion('mode', [
  z.strictObject({
    mode: z.literal('access'),
    /** `https://<team>.cloudflareaccess.com`. */
    issuer,
    /** The AUD tags of the Access applications before the two domains. */
    audiences: z.strictObject({ ui: base64url.min(8), apps: base64url.min(8) }),
    ...{ identity, algorithm },
  }),
  z.strictObject({
    mode: z.literal('oidc'),
    issuer,
    clientId: z.string().min(1).max(256),
    scope: z.string().default('openid email'),
    ...{ identity, algorithm },
  }),
]);
export type SignIn = z.output<typeof signInSchema>;

/** The registrable part as far as it can be told without the Public Suffix List: the last two labels. */
const site = (name: string) => name.split('.').slice(-2).join('.');

export const edgeConfigSchema = z
  .strictObject({
    /** Instances are `<slug>.<uiDomain>`; signing in happens on `auth.<uiDomain>`. */
    uiDomain: domainSchema,
    /** Apps are `<port>--<slug>.<appsDomain>`: another registrable domain, for pages that an agent wrote. */
    appsDomain: domainSchema,
    /** As browsers see it. */
    publicPort: z.number().int().min(1).max(65_535).default(443),
    signIn: signInSchema,
    /**
     * A session's length without Cloudflare Access. The registry ends access sooner; this is how long somebody stays whose
     * account at the issuer was closed.
     */
    sessionSeconds: z
      .number()
      .int()
      .min(1)
      .max(86_400)
      .default(4 * 3600),
    /** How often an open WebSocket is asked whether it still may be. */
    recheckSeconds: z.number().positive().max(300).default(30),
  })
  .refine(({ uiDomain, appsDomain }) => site(uiDomain) !== site(appsDomain), {
    message: 'must be of another registrable domain than uiDomain: agents write what is shown there',
    path: ['appsDomain'],
  });
export type EdgeConfig = z.output<typeof edgeConfigSchema>;

const secretKey = z.strictObject({ id: keyId, key: z.string().regex(/^[A-Za-z0-9_-]{43}$/) });
/** Keys of 32 bytes, base64url. The first one seals, all open: so they are rotated. */
const keyRing = z.array(secretKey).min(1).max(4);
export type KeyRing = z.output<typeof keyRing>;

export const edgeSecretsSchema = z.strictObject({
  /** Opens the registry's codes. */
  keks: keyRing,
  /** Seals sessions and tickets. */
  sessionKeys: keyRing,
  /** Of mode oidc; none for a public client. */
  clientSecret: z.string().min(1).optional(),
  /** SHA-256, hex, of the token by which an operator changes the registry; none: it can't be changed from outside. */
  adminTokenSha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .optional(),
});
export type EdgeSecrets = z.output<typeof edgeSecretsSchema>;
