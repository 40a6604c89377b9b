import { existsSync, readdirSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { inputError } from '../process/errors.ts';
import { type LayerFacts, layerSchema } from './layer-schema.ts';
import { at, readYaml } from './yaml-file.ts';

const STEP = 'layers';

/** One layer as found on disk. `rootfs/` is read the same way, under the name `00-rootfs`. */
export interface Layer extends LayerFacts {
  /** Folder name, `NN-id`: also the name of its fragments. */
  name: string;
  /** Absolute path of its folder. */
  dir: string;
  /** Scripts of `checks/static` and `checks/live`, installed for the box to run. */
  checks: { kind: 'static' | 'live'; file: string }[];
  hasApply: boolean;
  /** A YAML file that extends the schema of launch.json. */
  launchSchema: string | undefined;
}

/**
 * A layer by its folder's name or its number.
 * @throws BuildError (input) where there is none.
 */
export function findLayer(layers: Layer[], wanted: string): Layer {
  const found = layers.find(({ name }) => name === wanted || name.startsWith(`${wanted}-`));
  if (found) return found;
  const known = layers.map(({ name }) => name).join(', ');
  throw inputError('layers', `no layer is called ${wanted}`, `known: ${known}`);
}

/**
 * Loads `rootfs/` and every `layers/NN-name/`, in order.
 * @throws BuildError (input) with file, line and remedy.
 */
export function loadLayers(root: string): Layer[] {
  const folders = readdirSync(join(root, 'layers'), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort();
  const layers = [
    readLayer(join(root, 'rootfs'), '00-rootfs'),
    ...folders.map((name) => readLayer(join(root, 'layers', name), name)),
  ];
  checkOrder(layers);
  checkOwnership(layers);
  return layers;
}

function readLayer(dir: string, name: string): Layer {
  const file = join(dir, 'layer.yaml');
  if (!/^\d\d-[a-z][a-z0-9-]*$/.test(name)) {
    throw inputError(STEP, `${dir}: a layer's folder is named NN-id`, 'rename it, for example 09-audit');
  }
  const facts = readYaml(file, layerSchema, STEP);
  if (name !== `${name.slice(0, 2)}-${facts.id}`) {
    throw inputError(STEP, `${at(file, 'id:')}: id is ${facts.id} but the folder is ${name}`, 'make them agree');
  }
  const layer: Layer = {
    ...facts,
    name,
    dir,
    checks: (['static', 'live'] as const).flatMap((kind) =>
      listFiles(join(dir, 'checks', kind)).map((path) => ({ kind, file: path })),
    ),
    hasApply: existsSync(join(dir, 'apply.sh')),
    launchSchema: existsSync(join(dir, 'launch.schema.yaml')) ? join(dir, 'launch.schema.yaml') : undefined,
  };
  if (facts.state === 'planned') checkPlanned(layer, file);
  checkOverlay(layer, file);
  return layer;
}

/** Regular files and links below `dir`, as absolute paths, sorted; none when there is no such folder. */
export function listFiles(dir: string): string[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir, { withFileTypes: true, recursive: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

function checkPlanned(layer: Layer, file: string): void {
  const extra = readdirSync(layer.dir).filter((name) => name !== 'layer.yaml' && name !== 'README.md');
  if ([extra, layer.packages, Object.keys(layer.overlay), Object.keys(layer.given)].some(({ length }) => length)) {
    throw inputError(
      STEP,
      `${at(file, 'state:')}: a planned layer holds only its manifest and README`,
      'set state: active',
    );
  }
}

function checkOverlay(layer: Layer, file: string): void {
  const base = join(layer.dir, 'rootfs');
  const present = listFiles(base).map((path) => `/${relative(base, path)}`);
  for (const path of present) {
    if (!layer.overlay[path]) {
      throw inputError(
        STEP,
        `${at(file, 'overlay:')}: rootfs${path} isn't declared`,
        `add it under overlay: with its mode in quotes`,
      );
    }
  }
  for (const [path, { mode }] of Object.entries(layer.overlay)) {
    if (!present.includes(path))
      throw inputError(STEP, `${at(file, path)}: overlay ${path} has no file below rootfs/`, 'add or undeclare it');
    const link = !statSync(join(base, path), { throwIfNoEntry: false })?.isFile();
    if (!mode && !link)
      throw inputError(STEP, `${at(file, path)}: overlay ${path} has no mode`, 'add mode: "0644" or what it should be');
    const fragment = path.match(/^\/usr\/lib\/clawdy\/.*\.d\/([^/]+)$/)?.[1];
    if (fragment && !fragment.startsWith(layer.name)) {
      throw inputError(
        STEP,
        `${at(file, path)}: fragment ${path} isn't named after its layer`,
        `name it ${layer.name}…`,
      );
    }
  }
}

function checkOrder(layers: Layer[]): void {
  for (const layer of layers) {
    for (const need of layer.needs) {
      const needed = layers.find((other) => other.name === need);
      const file = join(layer.dir, 'layer.yaml');
      if (!needed) {
        throw inputError(
          STEP,
          `${at(file, need)}: needs ${need}, and there is no such layer`,
          `known: ${layers.map((l) => l.name).join(', ')}`,
        );
      }
      if (needed.name >= layer.name) {
        throw inputError(
          STEP,
          `${at(file, need)}: needs ${need}, which is applied later`,
          'renumber the folders: NN must agree with needs',
        );
      }
    }
  }
  const ids = layers.map((layer) => layer.id);
  const twice = ids.find((id, index) => ids.indexOf(id) !== index);
  if (twice) throw inputError(STEP, `layers: two layers have the id ${twice}`, 'rename one');
}

/** One owner a path: what two layers write, neither can be removed cleanly. */
function checkOwnership(layers: Layer[]): void {
  const owners = new Map<string, string>();
  for (const layer of layers) {
    const given = Object.values(layer.given).map(({ path }) => path);
    for (const path of [...Object.keys(layer.overlay), ...given, ...layer.tree.added, ...checkPaths(layer)]) {
      const other = owners.get(path);
      if (other) {
        throw inputError(
          STEP,
          `${at(join(layer.dir, 'layer.yaml'), path)}: ${path} belongs to ${other} already`,
          'compose it from fragments',
        );
      }
      owners.set(path, layer.name);
    }
  }
}

/** Where a layer's checks land on the box. */
export function checkPaths(layer: Layer): string[] {
  return layer.checks.map(({ kind, file }) => checkPath(layer, kind, file));
}

export function checkPath(layer: Layer, kind: string, file: string): string {
  return `/usr/lib/clawdy/checks/${kind}.d/${layer.name}-${file.split('/').at(-1)?.replace(/\.sh$/, '')}`;
}
