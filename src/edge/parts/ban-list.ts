import { createHash } from 'node:crypto';
import pRetry from 'p-retry';
import { BuildError } from '../../process/errors.ts';
import { all, asked, permitted } from '../api.ts';
import { type Change, type Context, MARK, type Part, same } from '../change.ts';
import { need } from '../limits.ts';

const permissions = ['Account Filter Lists: Edit'];

/** Characters of a list's name: https://developers.cloudflare.com/waf/tools/lists/create-dashboard/; letters, digits and underscores. */
export const LIST_NAME_LIMIT = 50;

/** Of the zone with the Worker, where this is its apps': one account may have one list. The digest tells `a-b.com` from `a.b.com`. */
export function listName({ zone, served }: Context): string {
  const maker = served?.maker ?? zone.zone;
  const digest = createHash('sha256').update(maker).digest('hex').slice(0, 8);
  const room = LIST_NAME_LIMIT - `${MARK}__${digest}`.length;
  return `${MARK}_${maker.replaceAll(/[^a-z0-9]/g, '_').slice(0, room)}_${digest}`;
}

/** @returns its name where the rule is to name it: once somebody was banned on all hosts. */
export async function listInUse(context: Context): Promise<string | undefined> {
  const { bans } = context;
  if (!bans || bans === 'unknown') return undefined;
  return bans.everywhere.length || (await mineOf(context)) ? listName(context) : undefined;
}

/** Who is banned on all hosts of the zone: a list of the account's, which the rule `bans` names. There is none before it is needed. */
export const banList: Part = {
  name: 'ban list',
  permissions,
  changes: async (context) => {
    const { bans, limits } = context;
    if (!bans || bans === 'unknown') return [];
    const name = listName(context);
    const mine = await mineOf(context);
    const to = bans.everywhere;
    if (!mine) {
      if (!to.length) return [];
      const { length } = await listsOf(context);
      need(limits, length < limits.lists, `another list beside the account's ${length}`);
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

async function mineOf(context: Context) {
  return (await listsOf(context)).find(({ name }) => name === listName(context));
}

/** What is left of it where zone.yaml wants none any more; after the rules, one of which named it. */
export const formerBanList: Part = {
  name: 'former ban list',
  permissions: [],
  changes: async (context) => (context.bans ? [] : removal(context)),
  removal: async () => [],
};

/** A token that may not see lists has made none. */
async function removal(context: Context): Promise<Change[]> {
  const { api, accountId } = context;
  const name = listName(context);
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
