import { z } from 'zod';
import { edgeConfigSchema } from '../contract/edge.ts';
import { readYaml } from '../manifest/yaml-file.ts';

const host = z
  .string()
  .max(253)
  .regex(/^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$/, 'must be a host name in lower case');
const name = z.string().regex(/^[a-z][a-z0-9-]{0,30}$/, 'must be 1 to 31 of a-z, 0-9 and -');
const expression = z.string().min(1).max(4096);
/** A rule is ours by its name. */
const isUnique = (all: { name: string }[]) => new Set(all.map((one) => one.name)).size === all.length;
const twice = 'a name twice';

/** The auth proxy as a Worker (docs/edge.md). */
const workerSchema = z.strictObject({
  /** The script's, in the account. */
  name: name.default('clawdy-edge'),
  /** Its settings. Hosts below `uiDomain` are of this zone. */
  edge: edgeConfigSchema,
  /** Where instances' entries are. Durable Objects: a change counts at once; KV: after a minute or more. */
  registry: z.enum(['durable-objects', 'kv']).default('durable-objects'),
  /** A file beside this one, as `edge secrets` writes it. */
  secrets: z.string().min(1),
  /** Whether Cloudflare keeps the Worker's own lines; requests it never keeps. */
  logs: z.boolean().default(false),
});

/** What a zone at Cloudflare has to be like; zone.yaml, closed. */
export const zoneSchema = z.strictObject({
  version: z.literal(1),
  /** The zone's name, as `example.com`. */
  zone: host,
  /** Instances behind it: a proxied record for each. */
  origins: z
    .array(
      z.strictObject({
        name: host,
        /** In its shortest form, as Cloudflare says it again. */
        address: z.union([z.ipv4(), z.ipv6().transform((text) => new URL(`http://[${text}]/`).hostname.slice(1, -1))]),
        /** Its ID, where its certificate is to be of Cloudflare's CA. */
        instance: z.string().min(1).optional(),
      }),
    )
    .default([]),
  tls: z.strictObject({ minimum: z.enum(['1.2', '1.3']).default('1.2') }).prefault({}),
  hsts: z
    .strictObject({
      /** Browsers insist on HTTPS for so long after a visit. Half a year is what https://hstspreload.org calls long enough to begin with. */
      days: z.number().int().min(1).max(730).default(180),
      subdomains: z.boolean().default(true),
    })
    .prefault({}),
  /** Files of the certificate that Cloudflare shows to instances, by the CA that their launch.json names. */
  originPulls: z.strictObject({ certificate: z.string().min(1), key: z.string().min(1) }).optional(),
  waf: z
    .strictObject({
      managed: z.boolean().default(true),
      /** OWASP's core rule set; not on the free plan. */
      owasp: z.boolean().default(false),
    })
    .prefault({}),
  /** Custom rules, in Cloudflare's language. */
  rules: z
    .array(
      z.strictObject({
        name,
        expression,
        action: z.enum(['block', 'challenge', 'js_challenge', 'managed_challenge', 'log']),
      }),
    )
    .refine(isUnique, twice)
    .default([]),
  rateLimits: z
    .array(
      z.strictObject({
        name,
        expression,
        /** So many by one address within `seconds` are let through, then none for `pause` seconds. */
        requests: z.number().int().min(1).max(1_000_000),
        seconds: z.number().int(),
        pause: z.number().int(),
      }),
    )
    .refine(isUnique, twice)
    .default([]),
  /** Bot Fight Mode can't be told to let anybody through, and stops programs that use an API. */
  bots: z.strictObject({ fight: z.boolean().default(false) }).prefault({}),
  /** Whom instances have banned is so here too (`npm run edge -- bans`); without this, nobody is. */
  bans: z
    .strictObject({
      /** Never banned, whoever says so. */
      allow: z
        .array(
          z
            .union([z.ipv4(), z.ipv6(), z.cidrv4(), z.cidrv6()])
            .refine((text) => !/^::(ffff:)?\d+\./i.test(text), 'IPv4 is written as IPv4'),
        )
        .default([]),
      /** So many of one instance count, the newest. */
      perInstance: z.number().int().min(1).max(100).default(32),
      /** Banned by the instances of so many owners: banned on all hosts of the zone. */
      zoneWide: z.strictObject({ owners: z.number().int().min(2).max(100).default(3) }).prefault({}),
    })
    .optional(),
  /** Who may sign in: an application of Cloudflare Access. */
  access: z
    .strictObject({
      domain: host,
      allow: z.array(z.email()).min(1),
      session: z
        .string()
        .regex(/^\d{1,3}[mh]$/, 'must be as 30m or 8h')
        .default('8h'),
    })
    .optional(),
  worker: workerSchema.optional(),
  /** The file beside this one, of the zone with the Worker, whose apps this zone is for. */
  appsOf: z.string().min(1).optional(),
});

export type Zone = z.output<typeof zoneSchema>;

/** @throws BuildError (input) naming file, line and remedy. */
export function readZone(file: string): Zone {
  return readYaml(file, zoneSchema, 'edge');
}
