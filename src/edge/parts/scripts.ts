import { all, asked, permitted } from '../api.ts';
import { type Context, MARK } from '../change.ts';

export const SCRIPTS = ['Workers Scripts: Edit'];

/** The tag that a Worker has that a zone's file has made; no zone's name: any zone's. */
export const tagOf = (zone = '') => `${MARK}:${zone}`;

export interface Script {
  name: string;
  tags: string[];
}

/**
 * The account's Workers.
 * @param needed whether zone.yaml wants one; otherwise a token that may not see them has made none.
 */
export async function scriptsOf({ api, accountId }: Context, needed: boolean): Promise<Script[]> {
  const call = all(api.workers.scripts.list({ account_id: accountId }));
  const there = await asked('reading Workers', SCRIPTS, needed ? call : permitted(call));
  return (there ?? []).map(({ id, tags }) => ({ name: id ?? '', tags: tags ?? [] }));
}
