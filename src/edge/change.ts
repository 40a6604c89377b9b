import type { Cloudflare } from 'cloudflare';
import type { Decided } from './bans.ts';
import type { Limits } from './limits.ts';
import type { Served } from './served.ts';
import type { Zone } from './zone.ts';

/** What a part of the zone works with. */
export interface Context {
  api: Cloudflare;
  /** As zone.yaml wants it; its files are beside it, in `folder`. */
  zone: Zone;
  folder: string;
  zoneId: string;
  accountId: string;
  limits: Limits;
  /** Undefined where zone.yaml wants none; unknown where this machine has never asked instances: what is there stays. */
  bans: Decided | 'unknown' | undefined;
  /** Undefined where no Worker answers for hosts of the zone. */
  served: Served | undefined;
  detail: (text: string) => void;
}

/** One thing that isn't as it should be, and how it becomes so. Done twice it is done once. */
export interface Change {
  what: 'create' | 'update' | 'delete';
  /** For people: `setting ssl`, `record alice.example.com`. */
  name: string;
  from?: unknown;
  to?: unknown;
  /** What goes with it and can't be got back. */
  loses?: string;
  apply: () => Promise<unknown>;
}

/** A part of the zone: compares, and knows what of it is ours. */
export interface Part {
  name: string;
  /** Permissions of the API token, as Cloudflare's page for tokens names them. */
  permissions: string[];
  /** What is to be done so that the zone is as zone.yaml wants it. @throws BuildError (input) for what its plan doesn't have. */
  changes: (context: Context) => Promise<Change[]>;
  /** What is to be done so that nothing of ours is left. */
  removal: (context: Context) => Promise<Change[]>;
}

/** Marks what is ours where a mark can be set. */
export const MARK = 'clawdy';

/** Whether two values say the same, whatever the order of their members. */
export function same(one: unknown, other: unknown): boolean {
  return JSON.stringify(sorted(one)) === JSON.stringify(sorted(other));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== 'object') return value;
  const entries = Object.entries(value).filter(([, member]) => member !== undefined);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, member]) => [key, sorted(member)]));
}
