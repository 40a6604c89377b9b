import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Base, loadBase } from '../base/bases.ts';
import { type PackageList, resolvePackages } from '../base/bootstrap.ts';
import { findImage } from '../manifest/image.ts';
import { type Layer, loadLayers } from '../manifest/layers.ts';
import { isCached } from '../plan/cache.ts';
import { hashFiles, hashOf } from '../plan/hash.ts';
import type { Plan } from '../plan/plan.ts';

/** Everything a bake depends on, resolved, with one key a step. */
export interface BakeInputs {
  root: string;
  dist: string;
  base: Base;
  layers: Layer[];
  /** Union of the active layers' packages. */
  layerPackages: string[];
  resolved: PackageList;
  layerHashes: { name: string; state: Layer['state']; sha256: string }[];
  keys: { base: string; runtime: string; prepared: string; image: string };
}

/** Code that decides what is in an image; whole folders, because one forgotten file is a stale image. */
const IMAGE_CODE = ['packer', 'src/bake', 'src/manifest', 'src/plan', 'src/seal', 'src/doctor/accelerator.ts'];

/** Files of a layer that end in the image; claims, attacks and READMEs don't. */
const LAYER_FILES = ['layer.yaml', 'apply.sh', 'rootfs', 'checks', 'launch.schema.yaml'];

/** Reads the manifests and asks the archive for today's versions. */
export async function resolveInputs(root: string, baseName: string, log: string): Promise<BakeInputs> {
  const base = loadBase(baseName);
  const layers = loadLayers(root);
  const layerPackages = [...new Set(layers.flatMap((layer) => layer.packages))].sort();
  const [baseResolved, resolved] = await Promise.all([
    resolvePackages(base, base.packages, log),
    resolvePackages(base, [...base.packages, ...layerPackages], log),
  ]);
  const code = (...paths: string[]) =>
    hashFiles(
      root,
      paths.map((path) => join(root, path)),
    );
  const layerHashes = layers.map((layer) => ({
    name: layer.name,
    state: layer.state,
    sha256: hashFiles(
      layer.dir,
      LAYER_FILES.map((file) => join(layer.dir, file)).filter((path) => existsSync(path)),
    ),
  }));
  // mmdebstrap writes the mirror into the image's sources.
  const mirror = process.env.CLAWDY_MIRROR ?? '';
  const baseKey = hashOf(['base', base, mirror, baseResolved, code('src/base/bootstrap.ts', 'src/base/contract.sh')]);
  const runtimeKey = hashOf(['runtime', code('rootfs/runtime', 'src/bake/runtime.ts', '.npmrc')]);
  const prepared = hashOf([
    'prepared',
    baseKey,
    runtimeKey,
    resolved,
    code('src/bake/prepare.ts', 'src/bake/disk.ts', 'src/bake/disk-layout.ts'),
  ]);
  const image = hashOf(['image', prepared, layerHashes, code(...IMAGE_CODE)]);
  return {
    root,
    dist: join(root, 'dist'),
    base,
    layers,
    layerPackages,
    resolved,
    layerHashes,
    keys: { base: baseKey, runtime: runtimeKey, prepared, image },
  };
}

/** What a bake of these inputs would do. */
export function planBake(inputs: BakeInputs, force: boolean): Plan {
  const { keys } = inputs;
  const existing = force ? undefined : findImage(inputs.dist, keys.image);
  const needsPrepare = !existing && !isCached('prepared', keys.prepared);
  const state = (needed: boolean) => (needed ? 'run' : 'cached') as 'run' | 'cached';
  return {
    stage: 'bake',
    base: inputs.base.id,
    inputHash: keys.image,
    existing,
    steps: [
      { name: 'base', inputs: keys.base, state: state(needsPrepare && !isCached('base', keys.base)) },
      { name: 'runtime', inputs: keys.runtime, state: state(needsPrepare && !isCached('runtime', keys.runtime)) },
      { name: 'prepare', inputs: keys.prepared, state: state(needsPrepare) },
      { name: 'packer', inputs: keys.image, state: state(!existing) },
      { name: 'seal', inputs: keys.image, state: state(!existing) },
    ],
  };
}
