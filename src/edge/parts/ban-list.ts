import pRetry from 'p-retry';
import { BuildError } from '../../process/errors.ts';
import { all, asked, permitted } from '../api.ts';
import { type Change, type Context, MARK, type Part, same } from '../change.ts';
import { need } from '../limits.ts';

const permissions = ['Account Filter Lists: Edit'];

/** A list's name has letters, digits and underscores alone: https://developers.cloudflare.com/waf/tools/lists/create-dashboard/ */
export const listName = (zone: string) => `${MARK}_${zone.replaceAll(/[^a-z0-9]/g, '_')}`;

/** Who is banned on all hosts of the zone: a list of the account's, which the rule `bans` names. */
export const banList: Part = {
  name: 'ban list',
  permissions,
  changes: async (context) => {
    const { bans, zone, limits } = context;
    if (!bans) return [];
    const name = listName(zone.zone);
    const lists = await listsOf(context);
    const mine = lists.find((list) => list.name === name);
    const to = bans.everywhere;
    if (!mine) {
      need(limits, lists.length < limits.lists, `another list beside the account's ${lists.length}`);
      return [
        {
          ...{ what: 'create', name: `list ${name}`, to },
          apply: async () => setItems(context, (await create(context, name)).id, to),
        },
      ];
    }
    const from = await itemsOf(context, mine.id);
    if (same(from, to)) return [];
    return [{ what: 'update', name: `list ${name}`, from, to, apply: () => setItems(context, mine.id, to) }];
  },
  removal,
};

/** What is left of it where zone.yaml wants none any more; after the rules, one of which named it. */
export const formerBanList: Part = {
  name: 'former ban list',
  permissions: [],
  changes: async (context) => (context.bans ? [] : removal(context)),
  removal: async () => [],
};

/** A token that may not see lists has made none. */
async function removal(context: Context): Promise<Change[]> {
  const { api, accountId, zone } = context;
  const name = listName(zone.zone);
  const there = permitted(all(api.rules.lists.list({ account_id: accountId })));
  const mine = (await asked('reading lists', permissions, there))?.find((list) => list.name === name);
  if (!mine) return [];
  const apply = () =>
    asked(`removing list ${name}`, permissions, api.rules.lists.delete(mine.id, { account_id: accountId }));
  return [{ what: 'delete', name: `list ${name}`, apply }];
}

function listsOf({ api, accountId }: Context) {
  return asked('reading lists', permissions, all(api.rules.lists.list({ account_id: accountId })));
}

async function itemsOf({ api, accountId }: Context, id: string): Promise<string[]> {
  const items = await asked(
    'reading the ban list',
    permissions,
    all(api.rules.lists.items.list(id, { account_id: accountId })),
  );
  return items.flatMap((item) => ('ip' in item ? [item.ip] : [])).sort();
}

function create({ api, accountId }: Context, name: string) {
  const body = { account_id: accountId, kind: 'ip', name, description: `${MARK}: banned by several owners` } as const;
  return asked(`list ${name}`, permissions, api.rules.lists.create(body));
}

/** Seconds that Cloudflare has to take a list over, and to end what another was about: one operation an account at a time. */
const OPERATION_S = 60;

class Busy extends BuildError {}

/** Replaces all items, and waits until that has been done. */
async function setItems({ api, accountId, detail }: Context, id: string, addresses: string[]): Promise<void> {
  const account = { account_id: accountId };
  const body = addresses.map((ip) => ({ ip, comment: MARK }));
  const patient = <T>(what: string, call: () => Promise<T>) =>
    pRetry(() => asked(what, permissions, call()), {
      ...{ retries: OPERATION_S, factor: 1, minTimeout: 1000 },
      shouldRetry: ({ error }) => error instanceof Busy || (error.cause as { status?: number })?.status === 429,
      onFailedAttempt: ({ error }) => detail(error.message),
    });
  const { operation_id: operation } = await patient('filling the ban list', () =>
    api.rules.lists.items.update(id, { ...account, body }),
  );
  await patient('asking about the ban list', async () => {
    const state = await api.rules.lists.bulkOperations.get(operation, account);
    if (state.status === 'completed') return;
    const hint = 'the same command tries again';
    if (state.status === 'failed') throw new BuildError('edge', `the ban list isn't taken over: ${state.error}`, hint);
    throw new Busy('edge', `the ban list is still being taken over: ${state.status}`, hint);
  });
}
