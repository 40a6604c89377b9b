import { all, asked, permitted } from '../api.ts';
import { type Context, MARK, type Part } from '../change.ts';

const permissions = ['Workers KV Storage: Edit'];

/** Ours by its title. */
export const namespaceTitle = ({ zone }: Context) => `${MARK}: ${zone.zone}`;

/** The ID of the registry's namespace; undefined where it isn't there yet. */
export async function namespaceId(context: Context): Promise<string | undefined> {
  const there = await asked('reading KV namespaces', permissions, list(context));
  return there.find(({ title }) => title === namespaceTitle(context))?.id;
}

/** The registry in KV, before the Worker that it is bound to. What was once written stays, until all is taken away. */
export const kv: Part = {
  name: 'KV',
  permissions,
  changes: async (context) => {
    if (context.zone.worker?.registry !== 'kv' || (await namespaceId(context))) return [];
    const { api, accountId: account_id } = context;
    const title = namespaceTitle(context);
    const apply = () => asked(`namespace ${title}`, permissions, api.kv.namespaces.create({ account_id, title }));
    return [{ what: 'create', name: `namespace ${title}`, apply }];
  },
  removal: async (context) => {
    const { api, accountId: account_id } = context;
    const title = namespaceTitle(context);
    // A token that may not see them has made none.
    const there = (await asked('reading KV namespaces', permissions, permitted(list(context)))) ?? [];
    return there
      .filter((one) => one.title === title)
      .map(({ id }) => ({
        ...{ what: 'delete', name: `namespace ${title}`, loses: "the registry: every instance's entry" },
        apply: () => asked(`removing namespace ${title}`, permissions, api.kv.namespaces.delete(id, { account_id })),
      }));
  },
};

const list = ({ api, accountId }: Context) => all(api.kv.namespaces.list({ account_id: accountId }));
