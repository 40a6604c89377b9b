import type { Fallback } from '../base/choose.ts';

/** One step of a stage as `--plan` shows it. */
export interface PlannedStep {
  name: string;
  /** What it reads, as one digest; equal digests mean equal results. */
  inputs: string;
  state: 'run' | 'cached';
}

/** What a stage would do, decided before anything is done. */
export interface Plan {
  stage: string;
  base: string;
  /** Which base was asked for and why it isn't this one; null where it is. */
  fallback: Fallback | null;
  inputHash: string;
  /** The finished image that has these inputs already, if there is one. */
  existing: string | undefined;
  steps: PlannedStep[];
}

/** The plan for a person. */
export function renderPlan(plan: Plan): string {
  const rows = plan.steps.map(
    (step) => `  ${step.state === 'run' ? 'run   ' : 'cached'}  ${step.name.padEnd(28)} ${step.inputs.slice(0, 12)}`,
  );
  const head = `${plan.stage} ${plan.base}, inputs ${plan.inputHash.slice(0, 12)}`;
  const { fallback } = plan;
  const instead = `fallback: ${fallback ? `instead of ${fallback.requested}: ${fallback.reason}` : 'none'}`;
  return [head, instead, ...rows, ...(plan.existing ? [`nothing to do: ${plan.existing} has these inputs`] : [])].join(
    '\n',
  );
}
