import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { ScriptAndVersionSettingGetResponse as Settings } from 'cloudflare/resources/workers/scripts/script-and-version-settings.js';
import type { ScriptUpdateParams } from 'cloudflare/resources/workers/scripts/scripts.js';
import { inputError } from '../../process/errors.ts';
import { bundledWorker, COMPATIBILITY_DATE } from '../bundle.ts';
import type { Context } from '../change.ts';
import { readWorkerSecrets } from '../worker-secrets.ts';
import type { Zone } from '../zone.ts';
import { namespaceTitle } from './kv.ts';
import { tagOf } from './scripts.ts';

const ROOT = join(import.meta.dirname, '../../..');
/** The one module's name. */
export const MODULE = 'worker.js';
/** Bytes of a variable; 5 KB: https://developers.cloudflare.com/workers/platform/limits/#environment-variables */
const VARIABLE_LIMIT = 5000;
/** Durable Objects' classes, by what they are bound as (layers/06-cloudflare/edge/worker/bindings.ts). */
export const CLASSES = { REGISTRY: 'RegistryObject', SPENT: 'SpentObject' } as const;

/** A Worker as it is compared and told. */
export interface Form {
  module: string;
  compatibility: string;
  bindings: Record<string, unknown>;
  /** The secrets' digest. It is the version's tag, which a version that is made by hand, also of a secret, hasn't. */
  secrets: string;
  logs: string;
}

/** What is uploaded, and how it is told. */
export interface Wanted {
  module: string;
  secrets: string;
  form: Form;
}

let bundle: Promise<string> | undefined;

/** @throws BuildError (input) for what doesn't fit into a Worker. */
export async function wantedForm(context: Context, worker: NonNullable<Zone['worker']>): Promise<Wanted> {
  bundle ??= bundledWorker(ROOT);
  const module = await bundle;
  const { text, digest } = readWorkerSecrets(join(context.folder, worker.secrets));
  const long = Object.entries({ worker: JSON.stringify(worker.edge), [worker.secrets]: text }).find(
    ([, value]) => Buffer.byteLength(value) > VARIABLE_LIMIT,
  );
  if (long)
    throw inputError('edge', `${long[0]} has more than ${VARIABLE_LIMIT} bytes`, "Cloudflare's limit for a variable");
  const form: Form = {
    ...{ module: sha256(module), compatibility: COMPATIBILITY_DATE, secrets: digest },
    bindings: {
      ...{ CONFIG: worker.edge, SECRETS: 'secret' },
      ...(worker.registry === 'kv'
        ? { KV: `KV ${namespaceTitle(context)}` }
        : Object.fromEntries(Object.entries(CLASSES).map(([name, kind]) => [name, `Durable Object ${kind}`]))),
    },
    logs: worker.logs ? 'own lines' : 'none',
  };
  return { module, secrets: text, form };
}

/** @param namespace the ID of the registry's, where it is there. */
export function presentForm(context: Context, settings: Settings, module: string, namespace: string | undefined): Form {
  const bindings = (settings.bindings ?? []).map((binding) => {
    const { name, type, text, class_name, script_name, namespace_id } = binding as unknown as Record<string, string>;
    if (type === 'plain_text' && name === 'CONFIG') return [name, parse(text ?? '')];
    if (type === 'secret_text') return [name, 'secret'];
    if (type === 'durable_object_namespace')
      return [
        name,
        `Durable Object ${class_name}${script_name && script_name !== context.zone.worker?.name ? ` of ${script_name}` : ''}`,
      ];
    if (type === 'kv_namespace')
      return [name, `KV ${namespace_id === namespace ? namespaceTitle(context) : namespace_id}`];
    return [name, type];
  });
  const flags = settings.compatibility_flags?.length ? ` ${settings.compatibility_flags.join(' ')}` : '';
  return {
    module: sha256(module),
    compatibility: `${settings.compatibility_date}${flags}`,
    bindings: Object.fromEntries(bindings),
    secrets: settings.annotations?.['workers/tag'] ?? 'of a version made by hand',
    logs: logsOf(settings),
  };
}

/** Who keeps what of requests. */
function logsOf({ observability, logpush, tail_consumers }: Settings): string {
  const { enabled, logs, traces } = observability ?? {};
  const lines = enabled && logs?.enabled !== false;
  const kept = [
    ...(lines ? [logs?.invocation_logs === false ? 'own lines' : 'own lines, every request'] : []),
    ...(enabled && traces?.enabled ? ['traces'] : []),
    ...(logpush ? ['Logpush'] : []),
    ...(tail_consumers ?? []).map(({ service }) => `to ${service}`),
  ];
  return kept.join(', ') || 'none';
}

/** What goes with the module. Durable Objects are declared, not migrated: the same upload twice is the same as once. */
export function metadataOf(
  { zone }: Context,
  { secrets, form }: Wanted,
  { edge, logs, registry }: NonNullable<Zone['worker']>,
  namespace: string | undefined,
): ScriptUpdateParams.Metadata {
  const objects = Object.entries(registry === 'kv' ? {} : CLASSES);
  return {
    ...{ main_module: MODULE, compatibility_date: form.compatibility, tags: [tagOf(zone.zone)] },
    annotations: { 'workers/tag': form.secrets },
    bindings: [
      { type: 'plain_text', name: 'CONFIG', text: JSON.stringify(edge) },
      { type: 'secret_text', name: 'SECRETS', text: secrets },
      ...objects.map(([name, class_name]) => ({ type: 'durable_object_namespace' as const, name, class_name })),
      ...(namespace ? [{ type: 'kv_namespace' as const, name: 'KV', namespace_id: namespace }] : []),
    ],
    // https://developers.cloudflare.com/durable-objects/reference/durable-objects-migrations/. SQLite: the one that the free plan has.
    // With KV nothing is said of objects: those of before stay.
    ...(objects.length
      ? {
          exports: Object.fromEntries(objects.map(([, kind]) => [kind, { type: 'durable-object', storage: 'sqlite' }])),
        }
      : {}),
    // Requests' addresses and headers would be kept with `invocation_logs`.
    observability: { enabled: logs, logs: { enabled: logs, invocation_logs: false } },
    ...{ logpush: false, tail_consumers: [] },
  };
}

const sha256 = (text: string) => `sha256 ${createHash('sha256').update(text).digest('hex')}`;

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
