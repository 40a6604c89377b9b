import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import lockfile from 'proper-lockfile';
import type { BootstrappedBase, VendorBase } from '../base/bases.ts';
import { bootstrapBase } from '../base/bootstrap.ts';
import type { Fallback } from '../base/choose.ts';
import { probeAccelerator } from '../doctor/accelerator.ts';
import { type ImageManifest, imageSchema } from '../manifest/image.ts';
import { cacheDir, cached } from '../plan/cache.ts';
import type { Plan } from '../plan/plan.ts';
import { BuildError } from '../process/errors.ts';
import type { Progress } from '../process/progress.ts';
import { sealDisk } from '../seal/seal.ts';
import { LAYOUT } from './disk-layout.ts';
import type { BakeInputs } from './inputs.ts';
import { runPacker } from './packer.ts';
import { archivePayload } from './payload.ts';
import { PREPARED, prepare } from './prepare.ts';
import { packRuntime, runtimeVersions } from './runtime.ts';
import { prepareVendor } from './vendor-prepare.ts';

/** What `npm run -s bake -- --json` prints. */
export interface BakeResult {
  id: string;
  path: string;
  base: string;
  /** Only where the base isn't the one that was asked for. */
  fallback?: Fallback;
  /** True when an image with these inputs was there already. */
  cached: boolean;
  seconds: number;
  steps: { name: string; seconds: number }[];
}

/** Bakes one image, or returns the one that has these inputs. A failure leaves its disk and logs under `dist/.failed/`. */
export async function bake(inputs: BakeInputs, plan: Plan, progress: Progress): Promise<BakeResult> {
  const { dist, base, keys } = inputs;
  const startedAt = performance.now();
  const seconds = () => Math.round((performance.now() - startedAt) / 100) / 10;
  const fallback = inputs.fallback ? { fallback: inputs.fallback } : {};
  if (plan.existing) {
    const id = plan.existing.split('/').at(-1) as string;
    pointLatest(dist, base.id, id);
    return {
      id,
      path: plan.existing,
      base: base.id,
      ...fallback,
      cached: true,
      seconds: seconds(),
      steps: progress.times,
    };
  }
  const release = await lockDist(dist);
  const id = `${base.id}-${new Date().toISOString().replaceAll(/[-:]|\.\d+/g, '')}-${keys.image.slice(0, 8)}`;
  const work = join(dist, '.work', id);
  const failed = join(dist, '.failed', id);
  // Ctrl-C and the like: what there is stays for `make shell`, never as an image.
  const interrupted = () => moveAside(work, failed);
  process.once('exit', interrupted);
  try {
    for (const stale of readdirSync(join(dist, '.work')))
      rmSync(join(dist, '.work', stale), { recursive: true, force: true });
    mkdirSync(join(work, 'logs'), { recursive: true });
    const preparedDir = await prepareCached(inputs, work, progress);
    const facts = await makeImage(inputs, id, work, preparedDir, progress);
    const manifest: ImageManifest = imageSchema.parse({ ...facts, steps: progress.times, seconds: seconds() });
    writeFileSync(join(work, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
    await rename(work, join(dist, id));
    pointLatest(dist, base.id, id);
    const result = { id, path: join(dist, id), base: base.id, ...fallback, cached: false };
    return { ...result, seconds: seconds(), steps: progress.times };
  } catch (error) {
    moveAside(work, failed);
    throw pointInto(error, work, failed);
  } finally {
    process.off('exit', interrupted);
    await release();
  }
}

/** Waits for both even when one fails: what still ran would write into a folder that was moved aside. */
async function both<A, B>(a: Promise<A>, b: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([a, b]);
  return Promise.all([a, b]);
}

async function prepareCached(inputs: BakeInputs, work: string, progress: Progress): Promise<string> {
  const { base, keys } = inputs;
  const logs = join(work, 'logs');
  const ready = cacheDir('prepared', keys.prepared);
  const { dir } = await cached('prepared', keys.prepared, (dir) =>
    base.kind === 'vendor'
      ? prepareVendorBase(base, inputs, work, dir, progress)
      : prepareBootstrapped(base, inputs, logs, dir, progress),
  );
  if (dir !== ready) throw new BuildError('prepare', 'the cache moved during the bake', 'bake again');
  return dir;
}

/** Path of the runtime's archive. */
async function runtimeCached({ root, keys }: BakeInputs, logs: string, progress: Progress): Promise<string> {
  const { dir } = await cached('runtime', keys.runtime, (into) =>
    progress.step('runtime', () => packRuntime(root, into, join(into, 'runtime.tar'), join(logs, 'runtime.log'))),
  );
  return join(dir, 'runtime.tar');
}

async function prepareBootstrapped(
  base: BootstrappedBase,
  inputs: BakeInputs,
  logs: string,
  dir: string,
  progress: Progress,
): Promise<void> {
  const { keys, layerPackages: packages } = inputs;
  const [baseDir, runtimeTar] = await both(
    cached('base', keys.base, (into) =>
      progress.step(`base ${base.id}`, () => bootstrapBase(base, join(into, 'root.tar'), join(logs, 'base.log'))),
    ),
    runtimeCached(inputs, logs, progress),
  );
  const from = { baseTar: join(baseDir.dir, 'root.tar'), runtimeTar, packages, key: keys.prepared };
  await progress.step('prepare', () => prepare(base, from, dir, join(logs, 'prepare.log')));
}

async function prepareVendorBase(
  base: VendorBase,
  inputs: BakeInputs,
  work: string,
  dir: string,
  progress: Progress,
): Promise<void> {
  const { root, keys, vendor } = inputs;
  if (!vendor) throw new Error('a vendor base without its image');
  const logs = join(work, 'logs');
  const runtimeTar = await runtimeCached(inputs, logs, progress);
  const accelerator = await probeAccelerator();
  // Where `make shell` looks for the disk of a run that failed.
  const packerWork = join(work, 'packer');
  const run = { root, base, ...vendor, runtimeTar, key: keys.prepared, accelerator, work: packerWork, logs };
  await progress.step(`prepare (${accelerator})`, ({ detail }) => prepareVendor(run, dir, detail));
  await rm(packerWork, { recursive: true });
}

async function makeImage(inputs: BakeInputs, id: string, work: string, preparedDir: string, progress: Progress) {
  const { root, base, keys, layers } = inputs;
  const created = new Date().toISOString();
  const logs = join(work, 'logs');
  const payload = join(work, 'payload.tar');
  await archivePayload(layers, root, work, payload, { id, base: base.id, created }, inputs.given);
  const accelerator = await probeAccelerator();
  const packerWork = join(work, 'packer');
  mkdirSync(packerWork);
  const disk = await progress.step(`packer (${accelerator})`, ({ detail }) =>
    runPacker(
      {
        root,
        disk: join(preparedDir, PREPARED.disk),
        payload,
        work: packerWork,
        accelerator,
        log: join(logs, 'packer.log'),
      },
      detail,
    ),
  );
  const publicKey = readFileSync(join(packerWork, 'key.pub'), 'utf8');
  const sealed = await progress.step('seal', () =>
    sealDisk({
      ...{ disk, into: work, console: join(packerWork, 'console.log'), publicKey },
      rootLabel: base.kind === 'vendor' ? base.rootLabel : LAYOUT.root.label,
      log: join(logs, 'seal.log'),
    }),
  );
  checkPackages(sealed.packages, inputs.resolved);
  await rename(join(packerWork, 'console.log'), join(logs, 'console.log'));
  await rm(packerWork, { recursive: true });
  return {
    schema: 1,
    id,
    created,
    inputHash: keys.image,
    base: baseFacts(inputs),
    disk: { rawSha256: sealed.rawSha256, rawSize: sealed.rawSize, qcow2Size: statSync(join(work, 'disk.qcow2')).size },
    layers: inputs.layerHashes.filter(({ name }) => layers.some((layer) => layer.name === name)),
    without: [],
    given: inputs.given.map(({ name, sha256 }) => ({ name, sha256 })),
    packages: sealed.packages,
    runtime: runtimeVersions(root),
    accelerator,
    prepared: keys.prepared,
  };
}

/** What the manifest says about the base. */
function baseFacts({ base, keys, vendor, fallback }: BakeInputs): ImageManifest['base'] {
  const facts = { id: base.id, sha256: keys.base, ...(fallback ? { fallback } : {}) };
  if (base.kind !== 'vendor' || !vendor) return facts;
  const { from, sha256 } = vendor.image;
  return { ...facts, vendor: { image: base.image, sha256, from } };
}

/** What was planned is what is there: an archive that moved in between would make the input hash a lie. */
function checkPackages(found: string[], resolved: string[]): void {
  const differing = [
    ...found.filter((line) => !resolved.includes(line)),
    ...resolved.filter((line) => !found.includes(line)),
  ];
  if (differing.length) {
    throw new BuildError(
      'packages',
      `installed differs from planned: ${differing.slice(0, 6).join(', ')}`,
      'the archive moved: bake again',
    );
  }
}

/** One bake at a time writes a dist folder. */
async function lockDist(dist: string): Promise<() => Promise<void>> {
  mkdirSync(join(dist, '.work'), { recursive: true });
  try {
    return await lockfile.lock(dist, { lockfilePath: join(dist, '.lock'), stale: 60_000, update: 15_000 });
  } catch (cause) {
    throw new BuildError('bake', `another bake is writing ${dist}`, 'wait for it to end, then repeat', { cause });
  }
}

function pointLatest(dist: string, base: string, id: string): void {
  for (const name of ['latest', `latest-${base}`]) {
    rmSync(join(dist, name), { force: true });
    symlinkSync(id, join(dist, name));
  }
}

/** How many failed bakes are kept; each holds a disk. */
const KEPT_FAILURES = 3;

function moveAside(work: string, failed: string): void {
  if (!existsSync(work)) return;
  const parent = dirname(failed);
  mkdirSync(parent, { recursive: true });
  renameSync(work, failed);
  const old = readdirSync(parent).sort((a, b) => statSync(join(parent, b)).mtimeMs - statSync(join(parent, a)).mtimeMs);
  for (const name of old.slice(KEPT_FAILURES)) rmSync(join(parent, name), { recursive: true, force: true });
}

/** The error again, with a log's path as it is after the move. */
function pointInto(error: unknown, work: string, failed: string): unknown {
  if (!(error instanceof BuildError)) return error;
  const { step, message, hint, tail, exitCode } = error;
  return new BuildError(step, message, hint, { log: error.log?.replace(work, failed), tail, exitCode, cause: error });
}
