import { z } from 'zod';

/**
 * The parts of answers that are relied on. Open: the API grows members. What comes through hcloud-js' classes is in its
 * names (camel case), the rest in the API's own (https://docs.hetzner.cloud/reference/cloud).
 */

const id = z.number().int().positive();
const labels = z.record(z.string(), z.string());

export const actionSchema = z.object({
  id,
  status: z.enum(['running', 'success', 'error']),
  error: z.object({ code: z.string(), message: z.string() }).nullish(),
});
export type Action = z.output<typeof actionSchema>;

/** hcloud-js' Server. */
export const serverSchema = z.object({
  id,
  name: z.string(),
  status: z.string(),
  locked: z.boolean(),
  rescueEnabled: z.boolean(),
  created: z.date(),
  labels,
  publicNet: z.object({ ipv4: z.object({ ip: z.ipv4().nullable() }) }),
  image: z.object({ id }).nullable(),
});
export type Server = z.output<typeof serverSchema>;

export const serverListSchema = z.object({ servers: z.array(serverSchema), nextPage: id.nullish() });

/** A server as the API itself says it, of which hcloud-js drops firewalls. */
export const machineSchema = z.object({
  id,
  status: z.string(),
  locked: z.boolean(),
  created: z.string(),
  labels,
  location: z.object({ name: z.string() }),
  public_net: z.object({
    ipv4: z.object({ ip: z.ipv4().nullable() }),
    /** A /64. */
    ipv6: z.object({ ip: z.cidrv6().nullable() }),
    firewalls: z.array(z.object({ id, status: z.string() })),
  }),
});
export type HetznerMachine = z.output<typeof machineSchema>;

export const firewallSchema = z.object({ id, labels, rules: z.array(z.unknown()) });
export type Firewall = z.output<typeof firewallSchema>;

export const createdServerSchema = z.object({
  server: z.object({ id }),
  action: actionSchema,
  next_actions: z.array(actionSchema),
});

export const imageSchema = z.object({
  id,
  type: z.string(),
  status: z.enum(['available', 'creating', 'unavailable']),
  name: z.string().nullable(),
  created: z.string(),
  deprecated: z.string().nullable(),
  os_flavor: z.string(),
  /** GB. */
  disk_size: z.number(),
  labels,
});
export type Image = z.output<typeof imageSchema>;

export const createdImageSchema = z.object({ image: imageSchema, action: actionSchema });

export const sshKeySchema = z.object({ id, name: z.string(), public_key: z.string(), created: z.string(), labels });
export type SshKey = z.output<typeof sshKeySchema>;

const price = z.object({ net: z.string() });

export const serverTypeSchema = z.object({
  id,
  name: z.string(),
  architecture: z.enum(['x86', 'arm']),
  cpu_type: z.enum(['shared', 'dedicated']),
  /** GB. */
  disk: z.number(),
  locations: z.array(z.object({ name: z.string(), available: z.boolean(), deprecation: z.object({}).nullable() })),
  prices: z.array(z.object({ location: z.string(), price_hourly: price })),
});
export type ServerType = z.output<typeof serverTypeSchema>;

export const locationSchema = z.object({ id, name: z.string(), network_zone: z.string() });

export const pricingSchema = z.object({
  pricing: z.object({
    currency: z.enum(['EUR', 'USD']),
    image: z.object({ price_per_gb_month: price }),
    primary_ips: z.array(
      z.object({ type: z.string(), prices: z.array(z.object({ location: z.string(), price_hourly: price })) }),
    ),
  }),
});

export const metaSchema = z.object({ meta: z.object({ pagination: z.object({ next_page: id.nullable() }) }) });
