import { join, resolve } from 'node:path';
import { Command } from 'commander';
import { readImage } from '../manifest/image.ts';
import { loadLayers } from '../manifest/layers.ts';
import { EXIT, inputError } from '../process/errors.ts';
import { loadClaims } from '../verify/claims/load.ts';
import { renderClaim } from '../verify/claims/render.ts';
import { ContainerStage } from '../verify/stage.ts';

export function verifyCommand(root: string): Command {
  return new Command('verify')
    .description('run the claims of the newest image in containers: control, attack, sabotage')
    .option('--image <folder>', 'the image to verify', join('dist', 'latest'))
    .option('--layer <name>', 'only this layer (folder name, or its number)')
    .option('--claim <id>', 'only this claim', process.env.CLAIM)
    .option('--plan', 'list the claims and stop', false)
    .option('--json', 'the report, and only it, on standard output', false)
    .action(async (options: { image: string; layer?: string; claim?: string; plan: boolean; json: boolean }) => {
      const dir = resolve(root, options.image);
      const image = readImage(dir);
      const claims = loadClaims(root, loadLayers(root)).filter(
        (claim) =>
          claim.where.includes('container') &&
          (!options.claim || claim.id === options.claim) &&
          (!options.layer || claim.layer.name === options.layer || claim.layer.name.startsWith(`${options.layer}-`)),
      );
      if (!claims.length) throw inputError('verify', 'no claim matches', 'npm run -s verify -- --plan lists them');
      if (options.plan) {
        for (const claim of claims) process.stdout.write(`${claim.layer.name} ${claim.id}\n`);
        return;
      }
      const stage = await ContainerStage.open(root, dir);
      const results = [];
      try {
        for (const claim of claims) {
          const result = await stage.run(claim);
          results.push(result);
          process.stderr.write(`${renderClaim(result)}\n`);
        }
      } finally {
        await stage.close();
      }
      const failed = results.filter(({ ok }) => !ok).length;
      const totals = { declared: claims.length, executed: results.length, passed: results.length - failed, failed };
      if (options.json)
        process.stdout.write(`${JSON.stringify({ image: image.id, scope: 'container', claims: results, totals })}\n`);
      else process.stderr.write(`${totals.passed} of ${totals.declared} claims hold\n`);
      if (failed || totals.executed !== totals.declared || !totals.declared) process.exitCode = EXIT.failed;
    });
}
