import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { resolveInputs } from '../bake/inputs.ts';
import { bootstrappedNames, loadBase } from '../base/bases.ts';
import { bootstrapBase } from '../base/bootstrap.ts';
import { probeAccelerator } from '../doctor/accelerator.ts';
import { cached, cacheRoot } from '../plan/cache.ts';
import { workFolder } from '../plan/work-folder.ts';
import { inputError } from '../process/errors.ts';
import type { Progress } from '../process/progress.ts';
import { guestNetwork } from './guest-network.ts';
import { benchOurs, copyProject } from './ours.ts';
import { benchPlain } from './plain.ts';
import { type BakeBench, bakeBench } from './result.ts';

export type Part = 'ours' | 'plain';

/**
 * Times our bake and a plain Packer template, one after the other, from one pristine base on; making that base counts
 * for neither. All is done in a temporary folder below the cache: `dist` is left alone, and of the cache only the
 * base is used, and filled where it isn't there.
 *
 * @param parts what to run; what isn't is null in the result.
 * @param baseName a bootstrapped base.
 */
export async function runBakeBench(
  root: string,
  baseName: string,
  parts: Part[],
  progress: Progress,
): Promise<BakeBench> {
  const base = loadBase(baseName);
  if (base.kind !== 'bootstrapped')
    throw inputError('bench', `${base.id} is a vendor's image`, `take one of ${bootstrappedNames().join(', ')}`);
  // Before all else, because it may refuse.
  const network = parts.includes('plain') ? await guestNetwork(root) : undefined;
  const logs = join(cacheRoot(), 'logs');
  mkdirSync(logs, { recursive: true });
  const log = (name: string) => join(logs, `bench-${name}.log`);
  for (const name of ['base', 'ours', 'plain', 'plain-disk']) rmSync(log(name), { force: true });
  const { work, remove } = workFolder('bench-bake');
  try {
    const copy = join(work, 'project');
    await copyProject(root, copy);
    const inputs = await progress.step('resolve packages (not counted)', () =>
      resolveInputs(copy, { base }, log('base')),
    );
    const { dir: baseDir } = await progress.step(`pristine ${base.id} (not counted)`, () =>
      cached('base', inputs.keys.base, (dir) => bootstrapBase(base, join(dir, 'root.tar'), log('base'))),
    );
    const accelerator = await probeAccelerator();
    const plainInputs = { bake: inputs, baseTar: join(baseDir, 'root.tar'), accelerator, work, log: log('plain') };
    // The plain one first: ours edits the copy.
    const plain = network ? await benchPlain({ ...plainInputs, network }, progress) : undefined;
    const oursInputs = { root: copy, base: base.id, baseDir, accelerator, work, log: log('ours') };
    const ours = parts.includes('ours') ? await benchOurs(oursInputs, progress) : undefined;
    return bakeBench(ours, plain);
  } finally {
    remove();
  }
}
