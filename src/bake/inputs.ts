import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Base, BootstrappedBase, VendorBase } from '../base/bases.ts';
import { type PackageList, resolvePackages } from '../base/bootstrap.ts';
import type { ChosenBase, Fallback } from '../base/choose.ts';
import type { VendorImage } from '../base/vendor.ts';
import { resolveVendorPackages } from '../base/vendor-packages.ts';
import { findImage } from '../manifest/image.ts';
import { type Layer, loadLayers } from '../manifest/layers.ts';
import { isCached } from '../plan/cache.ts';
import { hashFiles, hashOf } from '../plan/hash.ts';
import type { Plan } from '../plan/plan.ts';
import type { Given } from './given.ts';

/** Everything a bake depends on, resolved, with one key a step. */
export interface BakeInputs {
  root: string;
  dist: string;
  base: Base;
  /** Only of a vendor base: its image, and what apt in the guest is to install, `name=version`. */
  vendor?: { image: VendorImage; install: string[] };
  fallback?: Fallback;
  layers: Layer[];
  given: Given[];
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

/** SHA-256, hex, over all of a layer that ends in the image. */
export function hashLayer({ dir }: Layer): string {
  const files = LAYER_FILES.map((file) => join(dir, file));
  return hashFiles(dir, files.filter(existsSync));
}

/** Reads the manifests and asks the archive for today's versions. */
export async function resolveInputs(
  root: string,
  chosen: ChosenBase,
  log: string,
  given: Given[] = [],
): Promise<BakeInputs> {
  const layers = loadLayers(root);
  const layerPackages = [...new Set(layers.flatMap((layer) => layer.packages))].sort();
  const code = (...paths: string[]) =>
    hashFiles(
      root,
      paths.map((path) => join(root, path)),
    );
  const layerHashes = layers.map((layer) => ({
    name: layer.name,
    state: layer.state,
    sha256: hashLayer(layer),
  }));
  const runtimeKey = hashOf(['runtime', code('rootfs/runtime', 'src/bake/runtime.ts', '.npmrc')]);
  const { base, fallback } = chosen;
  const what = { packages: layerPackages, runtimeKey, code, log };
  const prepared =
    base.kind === 'vendor'
      ? await vendorInputs(base, chosen.vendor as VendorImage, what)
      : await bootstrappedInputs(base, what);
  // An image that had to fall back is never taken for one that was asked for, nor the other way round.
  const asked = fallback ? [`instead of ${fallback.requested}`] : [];
  const taken = given.map(({ name, sha256 }) => `given ${name} ${sha256}`);
  const image = hashOf(['image', prepared.keys.prepared, layerHashes, code(...IMAGE_CODE), ...asked, ...taken]);
  return {
    root,
    dist: join(root, 'dist'),
    base,
    ...(fallback ? { fallback } : {}),
    ...(prepared.vendor ? { vendor: prepared.vendor } : {}),
    layers,
    given,
    layerPackages,
    resolved: prepared.resolved,
    layerHashes,
    keys: { ...prepared.keys, runtime: runtimeKey, image },
  };
}

interface Preparing {
  /** The layers' packages. */
  packages: string[];
  runtimeKey: string;
  /** Digest of files of the project. */
  code: (...paths: string[]) => string;
  log: string;
}

interface Prepared {
  resolved: PackageList;
  keys: { base: string; prepared: string };
  vendor?: { image: VendorImage; install: string[] };
}

async function bootstrappedInputs(base: BootstrappedBase, what: Preparing): Promise<Prepared> {
  const { packages, runtimeKey, code, log } = what;
  const [baseResolved, resolved] = await Promise.all([
    resolvePackages(base, base.packages, log),
    resolvePackages(base, [...base.packages, ...packages], log),
  ]);
  // mmdebstrap writes the mirror into the image's sources.
  const mirror = process.env.CLAWDY_MIRROR ?? '';
  const baseKey = hashOf(['base', base, mirror, baseResolved, code('src/base/bootstrap.ts', 'src/base/contract.sh')]);
  const prepared = hashOf([
    'prepared',
    baseKey,
    runtimeKey,
    resolved,
    code('src/bake/prepare.ts', 'src/bake/disk.ts', 'src/bake/disk-layout.ts'),
  ]);
  return { resolved, keys: { base: baseKey, prepared } };
}

/** Code that decides what is on a prepared disk of a vendor's. */
const VENDOR_CODE = ['vendor-prepare.ts', 'vendor-disk.ts', 'partitions.ts', 'disk.ts', 'disk-layout.ts', 'packer.ts'];

async function vendorInputs(base: VendorBase, image: VendorImage, what: Preparing): Promise<Prepared> {
  const { packages, runtimeKey, code, log } = what;
  const { resolved, install } = await resolveVendorPackages(base, image, packages, log);
  const prepared = hashOf([
    'prepared',
    image.sha256,
    base,
    runtimeKey,
    resolved,
    code('packer', ...VENDOR_CODE.map((name) => join('src/bake', name))),
  ]);
  return { resolved, keys: { base: image.sha256, prepared }, vendor: { image, install } };
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
    fallback: inputs.fallback ?? null,
    inputHash: keys.image,
    existing,
    steps: [
      { name: 'base', inputs: keys.base, state: state(needsPrepare && !inputs.vendor && !isCached('base', keys.base)) },
      { name: 'runtime', inputs: keys.runtime, state: state(needsPrepare && !isCached('runtime', keys.runtime)) },
      { name: 'prepare', inputs: keys.prepared, state: state(needsPrepare) },
      { name: 'packer', inputs: keys.image, state: state(!existing) },
      { name: 'seal', inputs: keys.image, state: state(!existing) },
    ],
  };
}
