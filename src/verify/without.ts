import { join } from 'node:path';
import { treeWithout } from '../bake/tree.ts';
import { readImage } from '../manifest/image.ts';
import { findLayer, loadLayers } from '../manifest/layers.ts';
import { BuildError, inputError } from '../process/errors.ts';
import type { Progress } from '../process/progress.ts';
import type { Absence } from './absence.ts';
import { loadClaims } from './claims/load.ts';
import { ContainerStage } from './stages/container.ts';
import { importTree } from './targets/container.ts';

/**
 * Attacks boxes that lack a layer by all of that layer's claims: each attack must then succeed, or somebody is named who
 * holds. So no layer is for show.
 *
 * @param layer folder name or number.
 */
export async function proveWithout(root: string, dir: string, layer: string, progress: Progress): Promise<Absence[]> {
  const layers = loadLayers(root);
  const { name } = findLayer(layers, layer);
  const claims = loadClaims(root, layers).filter(
    (claim) => claim.layer.name === name && claim.where.includes('container'),
  );
  if (!claims.length)
    throw inputError('verify', `${name} has no claim that a container can show`, 'take another layer');
  const image = readImage(dir);
  const tag = await progress.step(`tree without ${name}`, async () => {
    const log = join(dir, 'logs', 'tree.log');
    const tree = await treeWithout(root, image, name, log);
    return importTree(tree.tar, `clawdy-tree:without-${name}-${tree.name.slice(0, 16)}`, log);
  });
  const stage = await ContainerStage.open(root, tag);
  const absences: Absence[] = [];
  try {
    for (const claim of claims) {
      const absence = await stage.runWithout(claim).catch((error: unknown): Absence => {
        if (!(error instanceof BuildError)) throw error;
        return { id: claim.id, got: 'closed', meaning: undefined, evidence: `${error.message}\n${error.tail ?? ''}` };
      });
      absences.push(absence);
      progress.say(render(absence));
    }
  } finally {
    await stage.close();
  }
  return absences;
}

function render({ id, got, meaning, evidence }: Absence): string {
  if (meaning) return `  ✔ ${id}: ${got}: ${meaning}`;
  return [
    `  ✖ ${id}: ${got}, and nobody is named who holds`,
    ...evidence.split('\n').map((line) => `    │ ${line}`),
  ].join('\n');
}
