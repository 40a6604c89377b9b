import type { Planned } from './apply.ts';
import type { Change } from './change.ts';

const SIGNS = { create: '+', update: '~', delete: '-' } as const;

/** A plan for people: a line each, and of what changes the members that do. */
export function renderPlan(planned: Planned[]): string {
  const lines = planned.flatMap(({ part, changes }) =>
    changes.length ? [`${part}:`, ...changes.flatMap(lineOf)] : [],
  );
  const count = planned.reduce((sum, { changes }) => sum + changes.length, 0);
  return `${[...lines, count ? `${count} to change` : 'nothing to change'].join('\n')}\n`;
}

function lineOf({ what, name, from, to, loses }: Change): string[] {
  const told = differences(from, to).map(([path, was, is]) => {
    const at = path ? `${path}: ` : '';
    if (was === undefined) return `      + ${at}${is}`;
    return is === undefined ? `      - ${at}${was}` : `      ~ ${at}${was} → ${is}`;
  });
  return [`  ${SIGNS[what]} ${name}`, ...told, ...(loses ? [`      ! lost for good: ${loses}`] : [])];
}

/** Every leaf that isn't the same: where, what it was, what it is to be. */
function differences(from: unknown, to: unknown, path = ''): [string, string | undefined, string | undefined][] {
  if (isTree(from) && isTree(to)) {
    const keys = [...new Set([...Object.keys(from), ...Object.keys(to)])];
    return keys.flatMap((key) => differences(from[key], to[key], path ? `${path}.${key}` : key));
  }
  const [was, is] = [text(from), text(to)];
  return was === is ? [] : [[path, was, is]];
}

const isTree = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;

function text(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  return typeof value === 'string' ? value : JSON.stringify(value);
}
