import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Layer } from '../../manifest/layers.ts';
import { at, readYaml } from '../../manifest/yaml-file.ts';
import { inputError } from '../../process/errors.ts';
import { type Claim, claimsSchema } from './schema.ts';

export interface LayerClaim extends Claim {
  layer: Layer;
}

/**
 * Reads every active layer's claims.
 * @throws BuildError (input): a layer without an attack, an unknown script or layer, two claims of one name, a skip past its end date.
 */
export function loadClaims(root: string, layers: Layer[], today = new Date()): LayerClaim[] {
  const claims: LayerClaim[] = [];
  for (const layer of layers.filter(({ state }) => state === 'active')) {
    const file = join(layer.dir, 'claims.yaml');
    const found = existsSync(file) ? readYaml(file, claimsSchema, 'claims') : [];
    if (!found.length)
      throw inputError('claims', `${layer.dir}: an active layer without a claim`, 'add claims.yaml with an attack');
    for (const claim of found) {
      check(claim, file, root, layer, layers, today);
      if (claims.some(({ id }) => id === claim.id))
        throw inputError('claims', `${at(file, claim.id)}: the claim ${claim.id} exists already`, 'rename it');
      claims.push({ ...claim, layer });
    }
  }
  return claims;
}

function check(claim: Claim, file: string, root: string, layer: Layer, layers: Layer[], today: Date): void {
  for (const { run } of [claim.control, claim.attack]) {
    if (!scriptOf(root, layer, run)) {
      throw inputError(
        'claims',
        `${at(file, run)}: ${claim.id}: there is no script ${run.split(' ')[0]}`,
        'add it to attacks/, or to test/attacks/',
      );
    }
  }
  for (const name of claim.alsoStoppedBy) {
    if (!layers.some((other) => other.name === name)) {
      throw inputError(
        'claims',
        `${at(file, name)}: ${claim.id}: alsoStoppedBy names no layer: ${name}`,
        'use a folder name',
      );
    }
    if (!existsSync(offScript(root, name))) {
      throw inputError(
        'claims',
        `${at(file, name)}: ${claim.id}: ${name} can't be taken away`,
        `add ${offScript(root, name)}`,
      );
    }
  }
  if ('until' in claim.sabotage && new Date(claim.sabotage.until) < today) {
    throw inputError(
      'claims',
      `${at(file, claim.id)}: ${claim.id}: its missing sabotage was excused until ${claim.sabotage.until}`,
      'write the sabotage',
    );
  }
}

/** The script by which a layer is taken away whole on a running box. */
export function offScript(root: string, layer: string): string {
  return join(root, 'layers', layer, 'attacks', 'off');
}

/** The script a `run:` line names, as an absolute path: the layer's own, or a shared one. */
export function scriptOf(root: string, layer: Layer, run: string): string | undefined {
  const name = run.split(' ')[0] as string;
  return [join(layer.dir, name), join(root, 'test', 'attacks', name)].find((path) => existsSync(path));
}
