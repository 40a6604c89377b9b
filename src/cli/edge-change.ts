import { applyPlan, type Planned, planZone } from '../edge/apply.ts';
import type { Context } from '../edge/change.ts';
import { renderPlan } from '../edge/render.ts';
import type { Progress } from '../process/progress.ts';
import { agreed } from './agreed.ts';

export interface ChangeOptions {
  yes: boolean;
  json: boolean;
  /** What can't be got back may go; `yes` doesn't say so. */
  loseRegistry?: boolean;
}

const LOSE = '--lose-registry';

/** Compares, with progress. */
export function planned(context: Context, progress: Progress): Promise<Planned[]> {
  return progress.step('compare', ({ detail }) => planZone({ ...context, detail }));
}

/** On standard output, for people or as JSON. */
export function tell(plan: Planned[], { json }: Pick<ChangeOptions, 'json'>): void {
  const bare = plan.flatMap(({ part, changes }) => changes.map(({ apply, ...told }) => ({ part, ...told })));
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
  const lost = now.flatMap(({ changes }) => changes.flatMap(({ loses }) => loses ?? []));
  if (
    lost.length &&
    !options.loseRegistry &&
    !(await agreed('edge', `lost for good: ${lost.join('; ')}. Really?`, LOSE))
  )
    return;
  await applyPlan(now, plan, ({ name }, apply) => progress.step(name, apply));
}
