import { z } from 'zod';
import { sealEntry } from '../../layers/06-cloudflare/edge/core/envelope.ts';
import { domainSchema, type Entry, factsSchema, OWN_PATHS, SLUG_PATTERN } from '../contract/edge.ts';
import type { InstanceRecord } from '../launch/records.ts';
import { at, readYaml } from '../manifest/yaml-file.ts';
import { BuildError, inputError } from '../process/errors.ts';
import { askProxy } from './proxy.ts';
import type { OperatorEdge } from './secrets.ts';

const { owner, shares, origin, apps } = factsSchema.shape;

/** Whose instances an auth proxy leads to; edge.yaml, closed. What is secret comes from records. */
const inventorySchema = z.strictObject({
  version: z.literal(1),
  /** Where people sign in: `https://auth.<UI domain>`. */
  proxy: z.url({ protocol: /^https$/, hostname: /^auth\./ }),
  /** Below which apps are, as the proxy's settings say; whom an instance has banned is banned there too. */
  appsDomain: domainSchema.optional(),
  /** By their slugs: an instance is `https://<slug>.<UI domain>`. */
  instances: z.record(
    z.string().regex(SLUG_PATTERN),
    z.strictObject({
      ...{ instance: z.string().min(1), owner, shares: shares.default([]), apps: apps.default([]) },
      /** Where its gate is; its certificate is on record. */
      origin: origin.omit({ certificate: true }),
    }),
  ),
});
export type Inventory = z.output<typeof inventorySchema>;

/** @throws BuildError (input) naming file, line and remedy. */
export function readInventory(file: string): Inventory {
  const inventory = readYaml(file, inventorySchema, 'edge');
  const { appsDomain, instances } = inventory;
  for (const [slug, { origin }] of Object.entries(instances))
    if (appsDomain && origin.appsHost && !origin.appsHost.endsWith(`.${appsDomain}`))
      throw inputError(
        'edge',
        `${at(file, origin.appsHost)}: instances.${slug}.origin.appsHost isn't below ${appsDomain}`,
        "a Worker asks there for apps: it is a name of the apps' zone",
      );
  return inventory;
}

/** Under which names visitors reach an instance; `*--alice.example.com` is each that ends so. */
export function hostsOf(inventory: Inventory, id: string): string[] {
  const uiDomain = new URL(inventory.proxy).hostname.replace(/^auth\./, '');
  return slugsOf(inventory, id).flatMap((slug) => [
    `${slug}.${uiDomain}`,
    ...(inventory.appsDomain ? [`*--${slug}.${inventory.appsDomain}`] : []),
  ]);
}

/** The slugs of an instance. */
export function slugsOf({ instances }: Inventory, id: string): string[] {
  return Object.entries(instances).flatMap(([slug, { instance }]) => (instance === id ? [slug] : []));
}

/**
 * Writes an instance into the proxy's registry. The code leaves this machine sealed; only the proxy has the key.
 * @param code that its gate takes; null revokes the instance: nobody gets through any more.
 * @returns the status that the instance gave the proxy for it; null where the proxy didn't reach it, or nothing was asked.
 * @throws BuildError where the proxy isn't reached or doesn't take it.
 */
export async function push(
  { proxy, instances }: Inventory,
  slug: string,
  record: Pick<InstanceRecord, 'gate_certificate'>,
  code: string | null,
  { token, secrets }: OperatorEdge,
  ask: typeof fetch = fetch,
): Promise<number | null> {
  const known = instances[slug];
  if (!known)
    throw inputError(
      'edge',
      `no instance has the slug ${slug}`,
      `there are: ${Object.keys(instances).join(', ') || 'none'}`,
    );
  // Two changes in one millisecond would need a second operator, and the proxy refuses one of them.
  const revision = Date.now();
  let entry: Entry = { version: 1, slug, revision, state: 'revoked' };
  if (code !== null) {
    const { instance: instanceId, origin, ...rest } = known;
    const facts = factsSchema.safeParse({
      ...{ version: 1, slug, revision, state: 'live', instanceId, ...rest },
      origin: { ...origin, certificate: record.gate_certificate },
    });
    if (!facts.success) throw inputError('edge', `${slug}: ${z.prettifyError(facts.error)}`, 'correct edge.yaml');
    entry = await sealEntry(facts.data, code, secrets.keks);
  }
  const answer = await askProxy(proxy, `${OWN_PATHS}registry/${slug}`, entry, { token }, ask);
  if ('body' in answer) return z.object({ reached: z.number().nullish() }).parse(answer.body).reached ?? null;
  throw new BuildError(
    'edge',
    `the auth proxy doesn't take ${slug}: ${answer.said}`,
    'what it had counts on; the same command tries again',
  );
}
