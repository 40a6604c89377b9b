import { z } from 'zod';
import { rules } from './rules.ts';

/**
 * What Hetzner's API takes, written from its public description: https://docs.hetzner.cloud/reference/cloud, as of
 * July 2026, in the machine-readable form of MaximilianKoestler/hcloud-openapi (openapi/hcloud.json, commit
 * 0198009), section by section: #servers, #server-actions, #images, #ssh-keys, #firewalls, #firewall-actions, #server-types,
 * #locations, #pricing. Every schema is closed, which the API itself is only here and there: a misspelt member is to be seen.
 */

const id = z.number().int().min(1).max(Number.MAX_SAFE_INTEGER);

/** #labels: the value's pattern is the description's own; a key may have a prefix that is a DNS name. */
const value = /^(()|[a-z0-9A-Z]|([a-z0-9A-Z][a-z0-9A-Z._-]{0,61}[a-z0-9A-Z]))$/;
const key = /^([a-z0-9A-Z]([a-z0-9A-Z.-]{0,251}[a-z0-9A-Z])?\/)?[a-z0-9A-Z]([a-z0-9A-Z._-]{0,61}[a-z0-9A-Z])?$/;
export const labels = z.record(
  z
    .string()
    .regex(key)
    .refine((name) => !name.startsWith('hetzner.cloud/'), 'is reserved'),
  z.string().regex(value),
);

/** The description says string; Hetzner's own client sends numbers too (hetznercloud/hcloud-go, schema/id_or_name.go). */
const idOrName = z.union([z.string().min(1), id]);

const hostName = z
  .string()
  .max(63)
  .regex(/^[a-z0-9A-Z]([a-z0-9A-Z.-]*[a-z0-9A-Z])?$/);

/** #servers-create-a-server. `datacenter` was removed in July 2026. */
const createServer = z.strictObject({
  name: hostName,
  server_type: idOrName,
  image: idOrName,
  location: idOrName.optional(),
  labels: labels.optional(),
  start_after_create: z.boolean().optional(),
  ssh_keys: z.array(idOrName).optional(),
  // "This field is limited to 32KiB."
  user_data: z
    .string()
    .refine((text) => Buffer.byteLength(text) <= 32 * 1024, 'is longer than 32 KiB')
    .optional(),
  automount: z.boolean().optional(),
  networks: z.array(id).max(0).optional(),
  volumes: z.array(id).max(0).optional(),
  firewalls: z.array(z.strictObject({ firewall: id })).optional(),
  public_net: z
    .strictObject({
      enable_ipv4: z.boolean().optional(),
      enable_ipv6: z.boolean().optional(),
      ipv4: id.nullish(),
      ipv6: id.nullish(),
    })
    .optional(),
});

const nothing = z.strictObject({});
const text = z.string().min(1);
const page = {
  page: z.coerce.number().int().min(1).optional(),
  per_page: z.coerce.number().int().min(1).max(50).optional(),
};
const named = { name: text.optional(), label_selector: text.optional(), ...page };
const direction = (...names: string[]) => many(z.enum(names.flatMap((name) => [name, `${name}:asc`, `${name}:desc`])));

/** A parameter that may be repeated. */
function many<T extends z.ZodType>(one: T) {
  return z.union([z.array(one), one.transform((single) => [single])]).optional();
}

const numeric = z.string().regex(/^[1-9]\d*$/);

/** Label selectors, which the description also has, are none of these. */
const ofServers = z.array(z.strictObject({ type: z.literal('server'), server: z.strictObject({ id }) })).min(1);

/** Every call that the fake answers: its query and its body. */
export const REQUESTS = {
  'GET /actions': {
    query: z.strictObject({
      id: many(numeric),
      status: many(z.enum(['running', 'success', 'error'])),
      sort: direction('id', 'command', 'status', 'started', 'finished'),
      ...page,
    }),
  },
  'GET /servers/{id}/actions': {
    query: z.strictObject({
      status: many(z.enum(['running', 'success', 'error'])),
      sort: direction('id', 'command', 'status', 'started', 'finished'),
      ...page,
    }),
  },
  'GET /actions/{id}': {},
  'GET /servers': {
    query: z.strictObject({ ...named, status: many(text), sort: direction('id', 'name', 'created') }),
  },
  'POST /servers': { body: createServer },
  'GET /servers/{id}': {},
  'PUT /servers/{id}': { body: z.strictObject({ name: hostName.optional(), labels: labels.optional() }) },
  'DELETE /servers/{id}': {},
  'POST /servers/{id}/actions/poweron': { body: nothing },
  'POST /servers/{id}/actions/poweroff': { body: nothing },
  'POST /servers/{id}/actions/shutdown': { body: nothing },
  'POST /servers/{id}/actions/enable_rescue': {
    body: z.strictObject({ type: z.literal('linux64').optional(), ssh_keys: z.array(id).optional() }),
  },
  'POST /servers/{id}/actions/disable_rescue': { body: nothing },
  'POST /servers/{id}/actions/create_image': {
    body: z.strictObject({
      description: z.string().optional(),
      labels: labels.optional(),
      type: z.enum(['snapshot', 'backup']).optional(),
    }),
  },
  'GET /images': {
    query: z.strictObject({
      ...named,
      type: many(z.enum(['system', 'app', 'snapshot', 'backup'])),
      status: many(z.enum(['available', 'creating', 'unavailable'])),
      bound_to: many(numeric),
      include_deprecated: z.enum(['true', 'false']).optional(),
      architecture: many(z.enum(['x86', 'arm'])),
      sort: direction('id', 'name', 'created'),
    }),
  },
  'GET /images/{id}': {},
  'PUT /images/{id}': {
    body: z.strictObject({
      description: z.string().optional(),
      labels: labels.optional(),
      type: z.literal('snapshot').optional(),
    }),
  },
  'DELETE /images/{id}': {},
  'GET /ssh_keys': {
    query: z.strictObject({ ...named, fingerprint: text.optional(), sort: direction('id', 'name') }),
  },
  'POST /ssh_keys': {
    body: z.strictObject({
      name: text,
      public_key: z.string().regex(/^ssh-(ed25519|rsa) [A-Za-z0-9+/]+={0,2}( [^\n]*)?\n?$/),
      labels: labels.optional(),
    }),
  },
  'GET /ssh_keys/{id}': {},
  'PUT /ssh_keys/{id}': { body: z.strictObject({ name: text.optional(), labels: labels.optional() }) },
  'DELETE /ssh_keys/{id}': {},
  'GET /firewalls': { query: z.strictObject({ ...named, sort: direction('id', 'name', 'created') }) },
  'POST /firewalls': {
    body: z.strictObject({
      name: text.max(128),
      labels: labels.optional(),
      rules: rules.optional(),
      apply_to: z.array(z.never()).optional(),
    }),
  },
  'GET /firewalls/{id}': {},
  'PUT /firewalls/{id}': { body: z.strictObject({ name: text.max(128).optional(), labels: labels.optional() }) },
  'DELETE /firewalls/{id}': {},
  'POST /firewalls/{id}/actions/set_rules': { body: z.strictObject({ rules }) },
  'POST /firewalls/{id}/actions/apply_to_resources': { body: z.strictObject({ apply_to: ofServers }) },
  'POST /firewalls/{id}/actions/remove_from_resources': { body: z.strictObject({ remove_from: ofServers }) },
  'GET /server_types': { query: z.strictObject({ name: text.optional(), ...page }) },
  'GET /server_types/{id}': {},
  'GET /locations': { query: z.strictObject({ name: text.optional(), sort: direction('id', 'name'), ...page }) },
  'GET /locations/{id}': {},
  'GET /pricing': {},
} as const satisfies Record<string, { query?: z.ZodType; body?: z.ZodType }>;

export type CallName = keyof typeof REQUESTS;
export type CreateServer = z.output<typeof createServer>;
