import type { Region, State, Tags } from './state.ts';
import { ApiError, type Values } from './wire.ts';

export interface Call {
  state: State;
  region: Region;
}

/** Does one operation; its input has passed the model, its output will have to. */
export type Handler = (call: Call, input: Values) => Values | Promise<Values>;

/** EC2's filters, as far as this project uses them. @throws ApiError for one that isn't known. */
export function filtered<T>(
  all: Iterable<T>,
  filters: unknown,
  about: (item: T) => { tags: Tags; fields: Record<string, string[]> },
): T[] {
  const list = (filters ?? []) as { Name?: string; Values?: string[] }[];
  return [...all].filter((item) => {
    const { tags, fields } = about(item);
    return list.every(({ Name = '', Values = [] }) => {
      if (Values.length > 200) throw new ApiError('FilterLimitExceeded', 'at most 200 values');
      if (Name.startsWith('tag:')) return Values.includes(tags.get(Name.slice(4)) ?? '\0');
      if (Name === 'tag-key') return Values.some((key) => tags.has(key));
      const field = fields[Name];
      if (!field) throw new ApiError('InvalidParameterValue', `The filter '${Name}' is invalid`);
      return Values.some((value) => field.includes(value));
    });
  });
}

/** One page. EC2 takes no IDs together with MaxResults. */
export function page<T>(
  { state }: Call,
  all: T[],
  { MaxResults, NextToken }: Values,
): { items: T[]; NextToken?: string } {
  const from = NextToken === undefined ? 0 : Number(String(NextToken).replace('page-', ''));
  if (Number.isNaN(from)) throw new ApiError('InvalidParameterValue', 'NextToken is not one of ours');
  const size = Math.min((MaxResults as number | undefined) ?? 1000, state.behaviour.pageSize);
  const items = all.slice(from, from + size);
  return from + size < all.length ? { items, NextToken: `page-${from + size}` } : { items };
}
