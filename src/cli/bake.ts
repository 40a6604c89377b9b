import { mkdirSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { Command } from 'commander';
import { bake } from '../bake/bake.ts';
import { planBake, resolveInputs } from '../bake/inputs.ts';
import { baseNames, loadBase } from '../base/bases.ts';
import { renderPlan } from '../plan/plan.ts';
import { Progress } from '../process/progress.ts';

export function bakeCommand(root: string): Command {
  return new Command('bake')
    .description('bake a golden image from a base and the layers')
    .option('--base <name>', `one of ${baseNames().join(', ')}`, 'debian-13')
    .option('--force', 'bake even when an image with these inputs is there', false)
    .option('--plan', 'show the steps and stop', false)
    .option('--json', 'the result, and only it, on standard output', false)
    .action(async (options: { base: string; force: boolean; plan: boolean; json: boolean }) => {
      const progress = new Progress();
      loadBase(options.base);
      mkdirSync(join(root, 'dist'), { recursive: true });
      rmSync(join(root, 'dist', 'resolve.log'), { force: true });
      const inputs = await progress.step('resolve packages', () =>
        resolveInputs(root, options.base, join(root, 'dist', 'resolve.log')),
      );
      const plan = planBake(inputs, options.force);
      if (options.plan) {
        print(options.json ? JSON.stringify(plan) : renderPlan(plan));
        return;
      }
      const result = await bake(inputs, plan, progress);
      if (options.json) print(JSON.stringify(result));
      else if (result.cached)
        progress.say(`nothing to do: ${relative(root, result.path)} has these inputs (--force bakes anew)`);
      else progress.say(`baked ${relative(root, result.path)} in ${result.seconds.toFixed(0)} s; make test proves it`);
    });
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
