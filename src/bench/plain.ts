import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { buildDisk } from '../bake/disk.ts';
import type { BakeInputs } from '../bake/inputs.ts';
import { runPacker } from '../bake/packer.ts';
import { archivePayload } from '../bake/payload.ts';
import { runtimeVersions } from '../bake/runtime.ts';
import type { Accelerator } from '../doctor/accelerator.ts';
import { BuildError } from '../process/errors.ts';
import type { Progress } from '../process/progress.ts';
import { run } from '../process/run.ts';
import { type GuestNetwork, settings } from './guest-network.ts';
import { type PlainOutcome, timed } from './result.ts';

/** Under emulation apt takes minutes and npm longer; a run that isn't through by then is a failure to report. */
const LIMIT_MINUTES = 90;

export interface PlainInputs {
  bake: BakeInputs;
  /** The pristine base, a root archive. */
  baseTar: string;
  accelerator: Accelerator;
  network: GuestNetwork;
  /** Folder for this run alone. */
  work: string;
  /** Log of Packer; `log` of what comes before is beside it. */
  log: string;
}

/**
 * Times `test/bench/plain-packer.pkr.hcl` on the pristine base. The clock covers Packer from its start to its end; the
 * base's disk and the payload are there before.
 *
 * @returns why, where the template failed: that is a finding, not an error of the bench.
 */
export async function benchPlain(inputs: PlainInputs, progress: Progress): Promise<PlainOutcome> {
  const { work, log, accelerator } = inputs;
  const [disk, payload] = await progress.step('pristine disk (not counted)', () =>
    Promise.all([pristineDisk(inputs), archivePlain(inputs)]),
  );
  // runPacker reads its template from a root's packer folder: this one has the plain template there.
  const root = join(work, 'root');
  mkdirSync(join(root, 'packer'), { recursive: true });
  const { root: project } = inputs.bake;
  cpSync(join(project, 'test', 'bench', 'plain-packer.pkr.hcl'), join(root, 'packer', 'clawdy.pkr.hcl'));
  cpSync(join(project, 'packer', 'plugins.pkr.hcl'), join(root, 'packer', 'plugins.pkr.hcl'));
  const packer = { root, disk, payload, accelerator, work: join(work, 'packer'), limitMinutes: LIMIT_MINUTES, log };
  try {
    return await progress.step(`plain Packer (${accelerator})`, async ({ detail }) => {
      const { seconds } = await timed(() => runPacker(packer, detail));
      return { seconds };
    });
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    return { failed: whyFailed(error) };
  }
}

/** One line for the result: what Packer's guest said last, and where the whole is. */
export function whyFailed({ message, tail, log }: Pick<BuildError, 'message'> & Partial<BuildError>): string {
  const said = tail?.split('\n').filter((line) => line.trim() !== '');
  return [message, ...(said?.slice(-3) ?? []), ...(log ? [`log: ${log}`] : [])].join('; ');
}

async function pristineDisk({ bake, baseTar, work, log }: PlainInputs): Promise<string> {
  const [raw, disk] = [join(work, 'pristine.raw'), join(work, 'pristine.qcow2')];
  const prepareLog = log.replace(/\.log$/, '-disk.log');
  await buildDisk(baseTar, work, raw, bake.keys.base, prepareLog);
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, disk], { step: 'bench', log: prepareLog });
  await rm(raw);
  return disk;
}

async function archivePlain({ bake, network, work }: PlainInputs): Promise<string> {
  const { root, layers, base, layerPackages } = bake;
  const [dir, tar] = [join(work, 'plain'), join(work, 'plain.tar')];
  mkdirSync(dir, { recursive: true });
  const image = { id: 'plain', base: base.id, created: new Date().toISOString() };
  await archivePayload(layers, root, work, join(dir, 'layers.tar'), image);
  const { stdout: npm } = await run('npm', ['--version'], { step: 'bench', cwd: root });
  const { node, openclaw } = runtimeVersions(root);
  const own = {
    PACKAGES: layerPackages.join(' '),
    NODE_VERSION: node,
    NPM_VERSION: npm.trim(),
    OPENCLAW_VERSION: openclaw,
  };
  writeFileSync(join(dir, 'settings'), settings(network, own));
  if (network.ca) writeFileSync(join(dir, 'ca.pem'), network.ca);
  await run('tar', ['--create', '--file', tar, '--owner=0', '--group=0', '-C', dir, '.'], { step: 'bench' });
  return tar;
}
