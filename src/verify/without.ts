import { join } from 'node:path';
import { treeWithout } from '../bake/tree.ts';
import { type ImageManifest, readImage } from '../manifest/image.ts';
import { findLayer, loadLayers } from '../manifest/layers.ts';
import { BuildError, inputError } from '../process/errors.ts';
import type { Progress } from '../process/progress.ts';
import type { Absence } from './absence.ts';
import { type LayerClaim, loadClaims } from './claims/load.ts';
import { ContainerStage } from './stages/container.ts';
import { importTree } from './targets/container.ts';

/** A layer that is to be left out, and the claims that are tried then. */
export interface Without {
  dir: string;
  image: ImageManifest;
  layer: string;
  claims: LayerClaim[];
  /** Claims of the layer that only a VM can show: a tree boots in none. */
  untried: string[];
}

/**
 * @param layer folder name or number.
 * @param claim only this one.
 * @throws BuildError (input): no image, no such layer, or no claim of it that a container can show.
 */
export function prepareWithout(root: string, dir: string, layer: string, claim?: string): Without {
  const image = readImage(dir);
  const layers = loadLayers(root);
  const { name } = findLayer(layers, layer);
  const own = loadClaims(root, layers).filter((one) => one.layer.name === name && (!claim || one.id === claim));
  const inContainer = ({ where }: LayerClaim) => where.includes('container');
  const claims = own.filter(inContainer);
  if (!claims.length)
    throw inputError('verify', `${name} has no such claim that a container can show`, 'npm run -s verify -- --plan');
  return { dir, image, layer: name, claims, untried: own.filter((one) => !inContainer(one)).map(({ id }) => id) };
}

/**
 * Attacks boxes that lack a layer by all of that layer's claims: each attack must then succeed, or somebody is named who
 * holds. So no layer is for show.
 */
export async function proveWithout(
  root: string,
  { dir, image, layer, claims, untried }: Without,
  progress: Progress,
): Promise<Absence[]> {
  const tag = await progress.step(`tree without ${layer}`, async () => {
    const log = join(dir, 'logs', 'tree.log');
    const tree = await treeWithout(root, image, layer, log);
    return importTree(tree.tar, `clawdy-tree:without-${layer}-${tree.name.slice(0, 16)}`, log);
  });
  const stage = await ContainerStage.open(root, tag);
  const absences: Absence[] = [];
  try {
    for (const claim of claims) {
      const absence = await stage.runWithout(claim).catch((error: unknown) => noBox(claim, error));
      absences.push(absence);
      progress.say(render(absence));
    }
  } finally {
    await stage.close();
  }
  if (untried.length) progress.say(`not tried, a VM's: ${untried.join(', ')}`);
  return absences;
}

/** A box that closes itself for want of the layer lets nobody attack it; any other failure proves nothing. */
function noBox({ id }: LayerClaim, error: unknown): Absence {
  if (!(error instanceof Error)) throw error;
  const tail = error instanceof BuildError ? error.tail : error.stack;
  const closed = /clawdy: closed: .*/.exec(error.message)?.[0];
  return { id, got: closed ? 'closed' : 'broken', meaning: closed, evidence: [error.message, tail].join('\n') };
}

function render({ id, got, meaning, evidence }: Absence): string {
  if (meaning) return `  ✔ ${id}: ${got}: ${meaning}`;
  return [
    `  ✖ ${id}: ${got}, and nobody is named who holds`,
    ...evidence.split('\n').map((line) => `    │ ${line}`),
  ].join('\n');
}
