import { join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { EXIT } from '../process/errors.ts';
import { Progress } from '../process/progress.ts';
import { type Choice, prepareProof, runProof } from '../verify/proof.ts';
import { isGreen } from '../verify/report/schema.ts';
import { proveWithout } from '../verify/without.ts';

interface Options extends Choice {
  image: string;
  without?: string;
  plan: boolean;
  json: boolean;
}

export function verifyCommand(root: string): Command {
  return new Command('verify')
    .description("attack an image by its layers' claims: control, attack, sabotage; the report lies beside the image")
    .option('--image <folder>', 'the image to verify', join('dist', 'latest'))
    .addOption(
      new Option('--scope <scope>', 'ci: each claim in its cheapest honest place; full: everywhere')
        .choices(['ci', 'full'])
        .default('ci'),
    )
    .addOption(new Option('--in <place>', 'only there').choices(['container', 'vm']))
    .option('--layer <name>', 'only this layer (folder name, or its number)')
    .option('--claim <id>', 'only this claim', process.env.CLAIM)
    .option('--without <layer>', 'attack boxes that lack this layer, by its claims: each attack must then succeed')
    .option('--keep', 'keep the box as the sabotage left it, until Ctrl-C; `make shell` enters it', false)
    .option('--plan', 'list the claims, each with its place, and stop', false)
    .option('--json', 'the report, and only it, on standard output', false)
    .action(async (options: Options) => {
      if (options.without) {
        const absences = await proveWithout(root, resolve(root, options.image), options.without, new Progress());
        if (options.json) process.stdout.write(`${JSON.stringify(absences)}\n`);
        if (absences.some(({ meaning }) => !meaning)) process.exitCode = EXIT.failed;
        return;
      }
      const proof = prepareProof(root, resolve(root, options.image), options);
      if (options.plan) {
        for (const { claim, place } of proof.tasks)
          process.stdout.write(`${claim.layer.name} ${claim.id} (${place})\n`);
        return;
      }
      const report = await runProof(root, proof, new Progress());
      if (options.json) process.stdout.write(`${JSON.stringify(report)}\n`);
      if (!isGreen(report)) process.exitCode = EXIT.failed;
    });
}
