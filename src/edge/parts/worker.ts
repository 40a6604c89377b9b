import { inputError } from '../../process/errors.ts';
import { asked } from '../api.ts';
import { type Change, type Context, type Part, same } from '../change.ts';
import type { Zone } from '../zone.ts';
import { namespaceId } from './kv.ts';
import { SCRIPTS as permissions, scriptsOf, tagOf } from './scripts.ts';
import { type Form, MODULE, metadataOf, presentForm, type Wanted, wantedForm } from './worker-form.ts';

/** Neither `<name>.<account>.workers.dev` nor an address for each version: nobody gets in beside the zone's rules. */
const NO_OTHER_ADDRESS = { enabled: false, previews_enabled: false };

/** The auth proxy (docs/edge.md); ours by its tag. One upload makes all of it, before any route leads there. */
export const worker: Part = {
  name: 'Worker',
  permissions,
  changes: async (context) => {
    const { worker } = context.zone;
    if (!worker) return [];
    const wanted = await wantedForm(context, worker);
    const there = (await scriptsOf(context, true)).find(({ name }) => name === worker.name);
    if (there && !there.tags.includes(tagOf(context.zone.zone)))
      throw inputError(
        'edge',
        `the account has a Worker ${worker.name} that isn't ours: it hasn't the tag ${tagOf(context.zone.zone)}`,
        'nothing was changed; give worker.name another name',
      );
    const namespace = worker.registry === 'kv' ? await namespaceId(context) : undefined;
    const [now, addresses] = there ? await present(context, worker.name, namespace) : [];
    const changes: Change[] = [];
    if (!same(now, wanted.form)) changes.push(upload(context, worker, wanted, now));
    if (!same(addresses, NO_OTHER_ADDRESS)) changes.push(closeAddresses(context, worker.name, addresses));
    return changes;
  },
  removal: (context) => removal(context, undefined),
};

/** What is left of it under another name, or where zone.yaml wants none any more; after the routes that led there. */
export const formerWorker: Part = {
  name: 'former Worker',
  permissions: [],
  changes: (context) => removal(context, context.zone.worker?.name),
  removal: async () => [],
};

async function present(context: Context, name: string, namespace: string | undefined) {
  const { api, accountId: account_id } = context;
  const { scripts } = api.workers;
  const settings = await asked(
    `reading the Worker ${name}`,
    permissions,
    scripts.scriptAndVersionSettings.get(name, { account_id }),
  );
  const content = await asked(`reading the Worker ${name}`, permissions, scripts.content.get(name, { account_id }));
  const { enabled, previews_enabled } = await asked(
    `reading the Worker ${name}'s addresses`,
    permissions,
    scripts.subdomain.get(name, { account_id }),
  );
  const module = await moduleOf(content);
  return [presentForm(context, settings, module, namespace), { enabled, previews_enabled }] as const;
}

/** Modules come as a form; what else there is counts as well. */
async function moduleOf(content: Response): Promise<string> {
  if (!content.headers.get('content-type')?.startsWith('multipart/')) return content.text();
  const parts = await Promise.all([...(await content.formData()).values()].map((part) => new Response(part).text()));
  return parts.join('\n');
}

function upload(context: Context, worker: NonNullable<Zone['worker']>, wanted: Wanted, now: Form | undefined): Change {
  const { api, accountId } = context;
  const { name } = worker;
  return {
    ...{ what: now ? 'update' : 'create', name: `Worker ${name}`, from: now ?? {}, to: wanted.form },
    apply: async () => {
      const namespace = worker.registry === 'kv' ? await namespaceId(context) : undefined;
      const form = new FormData();
      form.set('metadata', JSON.stringify(metadataOf(context, wanted, worker, namespace)));
      form.set(MODULE, new File([wanted.module], MODULE, { type: 'application/javascript+module' }));
      // The client's own call makes another form, which isn't taken: https://github.com/cloudflare/cloudflare-typescript/issues/2799
      const call = api.put(`/accounts/${accountId}/workers/scripts/${name}`, { body: form });
      await asked(`uploading the Worker ${name}`, permissions, call);
    },
  };
}

function closeAddresses({ api, accountId: account_id }: Context, name: string, from: unknown): Change {
  return {
    ...{ what: 'update', name: `addresses of Worker ${name} outside of the zone`, from, to: NO_OTHER_ADDRESS },
    apply: () =>
      asked(
        `closing the addresses of Worker ${name}`,
        permissions,
        api.workers.scripts.subdomain.create(name, { account_id, ...NO_OTHER_ADDRESS }),
      ),
  };
}

async function removal(context: Context, but: string | undefined): Promise<Change[]> {
  const { api, accountId: account_id, zone } = context;
  const ours = (await scriptsOf(context, false)).filter(({ tags }) => tags.includes(tagOf(zone.zone)));
  return ours
    .filter(({ name }) => name !== but)
    .map(({ name }) => ({
      ...{ what: 'delete', name: `Worker ${name}` },
      loses: `the registry of Worker ${name}, where it is in Durable Objects: every instance's entry`,
      // `force`: with its Durable Objects.
      apply: () =>
        asked(
          `removing the Worker ${name}`,
          permissions,
          api.workers.scripts.delete(name, { account_id, force: true }),
        ),
    }));
}
