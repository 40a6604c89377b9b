import { applyPlan, type Planned, planZone } from '../edge/apply.ts';
import type { Context } from '../edge/change.ts';
import { renderPlan } from '../edge/render.ts';
import type { Progress } from '../process/progress.ts';
import { agreed } from './agreed.ts';

export interface ChangeOptions {
  yes: boolean;
  json: boolean;
}

/** Compares, with progress. */
export function planned(context: Context, progress: Progress): Promise<Planned[]> {
  return progress.step('compare', ({ detail }) => planZone({ ...context, detail }));
}

/** On standard output, for people or as JSON. */
export function tell(plan: Planned[], { json }: Pick<ChangeOptions, 'json'>): void {
  const bare = plan.flatMap(({ part, changes }) =>
    changes.map(({ what, name, from, to }) => ({ part, what, name, from, to })),
  );
  process.stdout.write(json ? `${JSON.stringify(bare)}\n` : renderPlan(plan));
}

/** Tells a plan and, agreed, carries it out. */
export async function change(
  context: Context,
  options: ChangeOptions,
  progress: Progress,
  plan: () => Promise<Planned[]>,
): Promise<void> {
  const now = await progress.step('compare', plan);
  tell(now, options);
  if (now.every(({ changes }) => changes.length === 0)) return;
  if (!options.yes && !(await agreed('edge', `change ${context.zone.zone} so?`))) return;
  await applyPlan(now, plan, ({ name }, apply) => progress.step(name, apply));
}
