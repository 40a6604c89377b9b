import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { archivePayload } from '../bake/payload.ts';
import { findLayer, loadLayers } from '../manifest/layers.ts';
import { EXIT, inputError, renderError } from '../process/errors.ts';
import { Progress } from '../process/progress.ts';
import { loadClaims } from '../verify/claims/load.ts';
import { renderClaim } from '../verify/report/text.ts';
import { applyBeforeBoot } from '../verify/stages/apply-layer.ts';
import { ContainerStage, imageTag } from '../verify/stages/container.ts';

export function devCommand(root: string): Command {
  return new Command('dev')
    .description('apply a layer as it is now to the newest image’s tree, in a container, and run its claims')
    .requiredOption('--layer <layer>', 'folder name or number, such as 03')
    .action(async ({ layer: wanted }: { layer: string }) => {
      const layers = loadLayers(root);
      const layer = findLayer(layers, wanted);
      if (layer.state === 'planned') {
        throw inputError(
          'dev',
          `${layer.name} is planned: it has nothing to apply yet`,
          'set state: active in its layer.yaml',
        );
      }
      const claims = loadClaims(root, layers).filter(
        (claim) => claim.layer === layer && claim.where.includes('container'),
      );
      const progress = new Progress();
      const work = mkdtempSync(join(tmpdir(), 'clawdy-dev-'));
      try {
        const payload = join(work, 'payload.tar');
        await archivePayload(layers, root, work, payload, { id: 'dev', base: 'dev' });
        const stage = await ContainerStage.open(root, await imageTag(join(root, 'dist', 'latest')), {
          before: applyBeforeBoot(payload, layer.name),
          onUnfit: (error) => progress.say(renderError(error)),
        });
        try {
          for (const claim of claims) {
            const result = await progress.step(claim.id, () => stage.run(claim));
            progress.say(renderClaim(layer.name, result));
            if (!result.ok) process.exitCode = EXIT.failed;
          }
        } finally {
          await stage.close();
        }
      } finally {
        rmSync(work, { recursive: true, force: true });
      }
    });
}
