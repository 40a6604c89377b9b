import { join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { EXIT } from '../process/errors.ts';
import { Progress } from '../process/progress.ts';
import { type Choice, prepareProof, runProof } from '../verify/proof.ts';
import { isGreen } from '../verify/report/schema.ts';
import { prepareWithout, proveWithout } from '../verify/without.ts';

interface Options extends Choice {
  image: string;
  without?: string;
  plan: boolean;
  json: boolean;
}

export function verifyCommand(root: string): Command {
  return new Command('verify')
    .description("attack an image by its layers' claims: control, attack, sabotage; the report lies beside the image")
    .option('--image <folder>', 'the image to verify', join('dist', process.env.CLAWDY_IMAGE ?? 'latest'))
    .addOption(
      new Option('--scope <scope>', 'ci: each claim in its cheapest honest place; full: everywhere')
        .choices(['ci', 'full'])
        .default('ci'),
    )
    .addOption(new Option('--in <place>', 'only there').choices(['container', 'vm']))
    .option('--layer <name>', 'only this layer (folder name, or its number)')
    .option('--claim <id>', 'only this claim', process.env.CLAIM)
    .addOption(
      new Option(
        '--without <layer>',
        'attack containers that lack this layer, by its claims: each attack must then succeed',
      ).conflicts(['layer', 'in', 'keep', 'scope']),
    )
    .addOption(
      new Option('--keep', 'keep the box as the sabotage left it, until Ctrl-C; `make shell` enters it')
        .default(false)
        .conflicts('json'),
    )
    .option('--plan', 'list the claims, each with its place, and stop', false)
    .option('--json', 'the report (or plan), and only it, on standard output', false)
    .action(async (options: Options) => {
      const image = resolve(root, options.image);
      if (options.without) return without(root, image, options.without, options);
      const proof = prepareProof(root, image, options);
      if (options.plan) {
        showPlan(
          proof.tasks.map(({ claim, place }) => ({ layer: claim.layer.name, claim: claim.id, place })),
          options.json,
        );
        return;
      }
      const report = await runProof(root, proof, new Progress());
      if (options.json) process.stdout.write(`${JSON.stringify(report)}\n`);
      if (!isGreen(report)) process.exitCode = EXIT.failed;
    });
}

async function without(root: string, image: string, layer: string, { claim, plan, json }: Options): Promise<void> {
  const absence = prepareWithout(root, image, layer, claim);
  if (plan) {
    showPlan(
      absence.claims.map(({ id }) => ({ layer: absence.layer, claim: id, place: 'container' })),
      json,
    );
    return;
  }
  const absences = await proveWithout(root, absence, new Progress());
  if (json) process.stdout.write(`${JSON.stringify(absences)}\n`);
  if (absences.some(({ meaning }) => !meaning)) process.exitCode = EXIT.failed;
}

function showPlan(tasks: { layer: string; claim: string; place: string }[], json: boolean): void {
  const lines = tasks.map(({ layer, claim, place }) => `${layer} ${claim} (${place})\n`);
  process.stdout.write(json ? `${JSON.stringify(tasks)}\n` : lines.join(''));
}
