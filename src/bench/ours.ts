import { appendFileSync, cpSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { BakeResult } from '../bake/bake.ts';
import { lastConsoleLine } from '../bake/packer.ts';
import type { Accelerator } from '../doctor/accelerator.ts';
import { BuildError } from '../process/errors.ts';
import type { Progress } from '../process/progress.ts';
import { run } from '../process/run.ts';
import { type BakeBench, timed } from './result.ts';

/** The file of a layer that is edited: a comment at its end. */
const EDITED = join('layers', '03-ssh', 'rootfs', 'etc', 'ssh', 'sshd_config.d', '00-clawdy.conf');

export interface OursInputs {
  /** A copy of the project (`copyProject`): its dist and its files are this run's to write. */
  root: string;
  /** Name of the base. */
  base: string;
  /** Folder in the user's cache that holds the pristine base. */
  baseDir: string;
  accelerator: Accelerator;
  /** Folder for this run alone; the caches go there. */
  work: string;
  log: string;
}

/**
 * Times two bakes in a copy of the project, each a process of its own: one with a cache that holds the pristine base
 * and nothing else (npm's cache is empty too), and one after an edit of a layer.
 */
export async function benchOurs(inputs: OursInputs, progress: Progress): Promise<NonNullable<BakeBench['ours']>> {
  const cache = join(inputs.work, 'cache');
  cpSync(inputs.baseDir, join(cache, 'clawdy', 'base', basename(inputs.baseDir)), { recursive: true });
  const cold = await bakeOnce('our bake, cold', inputs, cache, progress);
  mustNotRun(cold.result, 'base', 'the archive moved while it was measured: repeat');
  const edited = join(inputs.root, EDITED);
  if (!existsSync(edited))
    throw new BuildError('bench', `there is no ${EDITED}`, 'name another file in src/bench/ours.ts');
  appendFileSync(edited, '\n# edited by the bench\n');
  const edit = await bakeOnce('our bake after an edit', inputs, cache, progress);
  mustNotRun(edit.result, 'prepare', 'an edit of a layer must not prepare anew, or the archive moved: repeat');
  return { cold: cold.seconds, edit: edit.seconds };
}

/** A vendor's place in the caller's environment is about none of the bases measured here. */
const NO_MIRROR = { CLAWDY_BASE_MIRROR: '', CLAWDY_BASE_KEY: '' };

async function bakeOnce(name: string, inputs: OursInputs, cache: string, progress: Progress) {
  const { root, base, accelerator, log } = inputs;
  rmSync(log, { force: true });
  const bake = () =>
    run(process.execPath, [join(root, 'build.ts'), 'bake', '--base', base, '--json'], {
      step: 'bench',
      cwd: root,
      log,
      // The accelerator was found before: finding it is no part of a bake.
      env: { XDG_CACHE_HOME: cache, npm_config_cache: join(cache, 'npm'), CLAWDY_ACCEL: accelerator, ...NO_MIRROR },
    });
  const { result, seconds } = await progress.step(name, async ({ detail }) => {
    const timer = setInterval(() => detail(lastConsoleLine(log)), 2000);
    try {
      return await timed(bake);
    } finally {
      clearInterval(timer);
    }
  });
  const baked = JSON.parse(result.stdout) as BakeResult;
  if (baked.cached)
    throw new BuildError('bench', 'nothing was baked, so nothing was measured', 'read the log', { log });
  for (const step of baked.steps) progress.say(`    ${step.name}  ${step.seconds} s`);
  return { result: baked, seconds };
}

function mustNotRun({ steps }: BakeResult, step: string, hint: string): void {
  if (steps.some(({ name }) => name === step || name.startsWith(`${step} `)))
    throw new BuildError('bench', `the bake ran ${step}, which isn't to be counted`, hint);
}

/** What a copy of the project leaves out: results, history, and what is linked instead. */
const NOT_COPIED = new Set(['dist', 'node_modules', '.git']);

/** Copies the project as it lies there, uncommitted edits included; `node_modules` is shared. */
export async function copyProject(root: string, into: string): Promise<void> {
  mkdirSync(into, { recursive: true });
  cpSync(root, into, {
    recursive: true,
    verbatimSymlinks: true,
    filter: (source) => !NOT_COPIED.has(source.slice(root.length + 1)),
  });
  await run('ln', ['-s', join(root, 'node_modules'), join(into, 'node_modules')], { step: 'bench' });
  mkdirSync(join(into, 'dist'));
}
