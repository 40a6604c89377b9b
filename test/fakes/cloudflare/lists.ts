import { isIPv4, isIPv6 } from 'node:net';
import type { StoredRule } from './rules.ts';
import { judged, newId, Refusal } from './state.ts';

export interface FakeList {
  id: string;
  name: string;
  kind: string;
  items: { id: string; ip: string; comment?: string }[];
  /** What is to be there when the operation has ended, and how often it is asked about before. */
  pending?: { id: string; items: FakeList['items']; polls: number } | undefined;
}
export type FakeLists = Map<string, FakeList>;

/** Lists of an account by its plan: https://developers.cloudflare.com/waf/tools/lists/#availability. */
const MOST: Record<string, number> = { free: 1, pro: 10 };

interface Account {
  plan: string;
  lists: FakeLists;
  phases: Map<string, StoredRule[]>;
}

/** `/accounts/…/rules/lists` and below. */
export function lists(
  { plan, lists: there, phases }: Account,
  account_id: string,
  method: string,
  [id, what]: string[],
  body: unknown,
): unknown {
  const told = ({ items, pending, ...list }: FakeList) => ({ ...list, num_items: items.length });
  goOn(there);
  if (id === 'bulk_operations') return operation(there, what as string);
  if (!id) {
    if (method === 'GET') return [...there.values()].map(told);
    judged('list', { account_id, ...(body as object) });
    const { name, kind } = body as { name: string; kind: string };
    if (!/^[a-z0-9_]{1,50}$/.test(name)) throw new Refusal(400, 10_006, `invalid list name ${name}`);
    if ([...there.values()].some((list) => list.name === name)) throw new Refusal(400, 10_016, 'list name is taken');
    if (there.size >= (MOST[plan] ?? 0)) throw new Refusal(400, 10_030, 'maximum number of lists reached');
    const made: FakeList = { id: newId(), name, kind, items: [] };
    there.set(made.id, made);
    return told(made);
  }
  const list = there.get(id);
  if (!list) throw new Refusal(404, 10_001, 'could not find list');
  if (what === 'items') return itemsOf(there, list, account_id, method, body);
  if (method !== 'DELETE') return told(list);
  const named = [...phases.values()].flat().some(({ expression }) => String(expression).includes(`$${list.name})`));
  if (named) throw new Refusal(400, 10_021, 'list is referenced by a filter');
  there.delete(id);
  return { id };
}

function itemsOf(there: FakeLists, list: FakeList, account_id: string, method: string, body: unknown) {
  if (method === 'GET') return list.items;
  if ([...there.values()].some(({ pending }) => pending))
    throw new Refusal(429, 10_035, 'an operation on a list is still pending');
  judged('listItems', { account_id, body });
  const items = (body as { ip: string; comment?: string }[]).map((item) => ({ ...item, id: newId() }));
  const odd = items.find(({ ip }) => !isItem(ip));
  if (odd) throw new Refusal(400, 10_009, `invalid list item ${odd.ip}`);
  if (new Set(items.map(({ ip }) => ip)).size < items.length) throw new Refusal(400, 10_012, 'duplicate items');
  list.pending = { id: newId(), items, polls: 0 };
  return { operation_id: list.pending.id };
}

/** https://developers.cloudflare.com/waf/tools/lists/custom-lists/#ip-lists: one IPv4 address, networks to /8, IPv6 ones from /12 to /64. */
function isItem(ip: string): boolean {
  const [address = '', bits] = ip.split('/');
  if (isIPv4(address)) return bits === undefined || (Number(bits) >= 8 && Number(bits) <= 32);
  return isIPv6(address) && bits !== undefined && Number(bits) >= 12 && Number(bits) <= 64;
}

function operation(there: FakeLists, id: string) {
  const list = [...there.values()].find(({ pending }) => pending?.id === id);
  return list?.pending ? { id, status: 'running' } : { id, status: 'completed', completed: new Date().toISOString() };
}

/** Time passes: an operation has ended when the account has been asked about its lists three times. */
function goOn(there: FakeLists): void {
  for (const list of there.values()) {
    if (!list.pending || ++list.pending.polls < 3) continue;
    list.items = list.pending.items;
    list.pending = undefined;
  }
}
