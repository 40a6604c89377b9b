/**
 * The auth proxy's registry and settings (docs/edge.md): what the operator's side writes and the proxy reads, wherever it runs.
 */
import { z } from 'zod';
import { APP_PORTS, RESERVED_PORTS, USER_PATTERN } from './gate.ts';

/** One label of a host name: an instance is `slug.<UI domain>`, an app of its agent `port--slug.<apps domain>`. */
export const SLUG = /^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/;
const slug = z
  .string()
  .regex(SLUG)
  .refine((text) => !text.includes('--'), 'must not hold two hyphens in a row');
const domain = z.string().regex(/^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}$/);
const user = z.string().regex(USER_PATTERN);

/** The proxy's own paths, on each of its hosts. */
export const OWN_PATH = '/.clawdy/';

export function isAppPort(port: number): boolean {
  if (!Number.isInteger(port) || port < APP_PORTS.first || port > APP_PORTS.last) return false;
  return !RESERVED_PORTS.some(({ first, last }) => port >= first && port <= last);
}

/** A code, encrypted: AES-256-GCM by a key of its own, which is encrypted by the key `kid`; the slug is bound to both. Base64url. */
export const sealedSchema = z.strictObject({
  kid: z.string().regex(/^[A-Za-z0-9_-]{1,32}$/),
  key: z.base64url().max(200),
  code: z.base64url().max(200),
});
export type Sealed = z.output<typeof sealedSchema>;

/** An instance, as the proxy knows it. */
export const entrySchema = z.strictObject({
  version: z.literal(1),
  slug,
  /** Grows with each change: an older one never takes the place of a newer. */
  revision: z.number().int().positive(),
  /** Where its gate is: a host name and a port. */
  origin: z.string().regex(/^[a-z0-9.-]{1,253}(:\d{1,5})?$/),
  /** PEM of the very certificate that the gate shows, where the proxy can hold it to that. */
  certificate: z.string().nullable(),
  sealed: sealedSchema,
  owner: user,
  /** Who else may use OpenClaw itself. */
  shares: z.array(user).max(100).default([]),
  /** Ports that have an app, and with whom it is shared; the owner may use all of them. */
  apps: z
    .array(
      z.strictObject({
        port: z.number().refine(isAppPort, 'is not a port that apps may have'),
        shares: z.array(user).max(100),
      }),
    )
    .max(100)
    .default([]),
  /** Nobody gets through any more. */
  revoked: z.boolean().default(false),
});
export type Entry = z.output<typeof entrySchema>;

/** Who says who somebody is. */
const session = z.discriminatedUnion('kind', [
  /** Cloudflare Access, in front of every host of the proxy's. */
  z.strictObject({
    kind: z.literal('access'),
    /** `https://<team>.cloudflareaccess.com` */
    issuer: z.url({ protocol: /^https?$/ }),
    /** Of the applications: those of the UI's hosts and of the apps'. */
    audiences: z.array(z.string().min(1)).min(1),
  }),
  /** Any OpenID Connect provider. */
  z.strictObject({
    kind: z.literal('oidc'),
    issuer: z.url({ protocol: /^https?$/ }),
    clientId: z.string().min(1),
    /** Seconds that a session lasts. */
    seconds: z.number().int().min(60).max(86_400).default(3600),
    /** For a provider on loopback: no TLS. */
    insecure: z.boolean().default(false),
  }),
]);

/** The proxy's settings. Secrets stand beside them. */
export const edgeConfigSchema = z
  .strictObject({
    version: z.literal(1),
    /** Instances are `slug.<uiDomain>`; `auth.<uiDomain>` is where people sign in. */
    uiDomain: domain,
    /** Apps are `port--slug.<appsDomain>`: another registrable domain, since what an agent writes mustn't ride the UI's cookies. */
    appsDomain: domain,
    session,
    /** Of the URLs; else than 443 in tests. */
    port: z.number().int().min(1).max(65_535).default(443),
  })
  .refine(
    ({ uiDomain, appsDomain }) =>
      uiDomain !== appsDomain &&
      !`.${uiDomain}`.endsWith(`.${appsDomain}`) &&
      !`.${appsDomain}`.endsWith(`.${uiDomain}`),
    {
      message: 'uiDomain and appsDomain must not lie within each other',
    },
  );
export type EdgeConfig = z.output<typeof edgeConfigSchema>;

/** The host where people sign in, and the slug that no instance has. */
export const AUTH_SLUG = 'auth';

/** What the proxy is given apart from its settings; all are base64url. */
export const edgeSecretsSchema = z.strictObject({
  /** 32 bytes: seals sessions. */
  session: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
  /** 32 bytes each, by their names: open the codes of the registry. */
  codes: z.record(z.string().regex(/^[A-Za-z0-9_-]{1,32}$/), z.string().regex(/^[A-Za-z0-9_-]{43}$/)),
  /** SHA-256 of the token with which the operator writes the registry. */
  admin: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
  /** Of the OIDC client. */
  client: z.string().min(1).optional(),
});
export type EdgeSecrets = z.output<typeof edgeSecretsSchema>;
