import { invalid } from './errors.ts';

/**
 * Whether labels fit a selector: https://docs.hetzner.cloud/reference/cloud#label-selector
 * @throws Refusal for a form that isn't described there.
 */
export function selects(selector: string, labels: Record<string, string>): boolean {
  // Commas within `in (a,b)` don't separate.
  return selector.split(/,(?![^(]*\))/).every((term) => one(term.trim(), labels));
}

function one(term: string, labels: Record<string, string>): boolean {
  const set = /^([^\s!=(),]+) (not)?in \(([^()]*)\)$/.exec(term);
  if (set) {
    const [, key = '', not, values = ''] = set;
    const has = values.split(',').some((value) => labels[key] === value.trim());
    return not ? !has : has;
  }
  const [, key = '', sign, value] = /^([^\s!=(),]+)(==|=|!=)([^\s!=(),]*)$/.exec(term) ?? [];
  if (sign) return sign === '!=' ? labels[key] !== value : labels[key] === value;
  const [, absent, name = ''] = /^(!)?([^\s!=(),]+)$/.exec(term) ?? [];
  if (!name) throw invalid(`label_selector: ${term}`);
  return absent ? !(name in labels) : name in labels;
}

/** A page of a list, with the API's meta. 25 to a page where nothing is asked for, 50 at most. */
export function pageOf<T>(
  all: T[],
  { page = 1, per_page = 25 }: { page?: number | undefined; per_page?: number | undefined },
) {
  const last = Math.max(1, Math.ceil(all.length / per_page));
  return {
    items: all.slice((page - 1) * per_page, page * per_page),
    meta: {
      pagination: {
        page,
        per_page,
        previous_page: page > 1 ? page - 1 : null,
        next_page: page < last ? page + 1 : null,
        last_page: last,
        total_entries: all.length,
      },
    },
  };
}

/** Sorts by `field`, `field:asc` or `field:desc`; equal ones by ID in the same direction. */
export function sorted<T extends { id: number }>(all: T[], sort: string[] | undefined): T[] {
  const [field = 'id', direction = 'asc'] = (sort?.[0] ?? 'id').split(':');
  const of = (item: T) => {
    const found = (item as Record<string, unknown>)[field];
    return found instanceof Date ? Math.floor(found.getTime() / 1000) : (found as string | number | null);
  };
  const sign = direction === 'desc' ? -1 : 1;
  return [...all].sort((a, b) => {
    const [x, y] = [of(a), of(b)];
    if (x === y || x === null || y === null) return sign * (a.id - b.id);
    return x < y ? -sign : sign;
  });
}
