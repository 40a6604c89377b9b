import { readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { Command } from 'commander';
import { baseNames, loadBase } from '../base/bases.ts';
import { listFiles, loadLayers } from '../manifest/layers.ts';
import { Progress } from '../process/progress.ts';
import { run } from '../process/run.ts';
import { loadClaims } from '../verify/claims/load.ts';
import { lintWorkflows } from './lint-workflows.ts';

/** The binary itself: its launcher package names platforms that not every npm mirror holds, and `npm ci` then refuses. */
const BIOME = 'node_modules/@biomejs/cli-linux-x64/biome';

export function lintCommand(root: string): Command {
  return new Command('lint')
    .description('types, style, shell scripts, workflows, manifests and claims')
    .option('--fix', 'let the formatter and linter mend what they can', false)
    .action((options: { fix: boolean }) => lint(root, options.fix, new Progress()));
}

/** @throws BuildError at the first of them that isn't clean. */
export async function lint(root: string, fix: boolean, progress: Progress): Promise<void> {
  const step = { step: 'lint', cwd: root, hint: 'npm run lint -- --fix mends what a tool can mend' };
  await progress.step('manifests and claims', async () => {
    loadClaims(root, loadLayers(root));
    for (const name of baseNames()) loadBase(name);
  });
  await progress.step('types', () => run('tsc', ['-p', '.'], step));
  await progress.step('style', () =>
    run(join(root, BIOME), ['check', '--error-on-warnings', ...(fix ? ['--write'] : []), '.'], step),
  );
  await progress.step('shell scripts', () => run('shellcheck', ['-S', 'warning', ...shellScripts(root)], step));
  await progress.step('workflows', () => lintWorkflows(root));
}

/** Every file of the project whose first line asks for sh or bash. */
export function shellScripts(root: string): string[] {
  const folders = ['packer', 'rootfs', 'layers', 'src', 'test', '.ci', '.github'];
  return folders
    .flatMap((folder) => listFiles(join(root, folder)))
    .filter((file) => /^#!.*\b(ba)?sh\b/.test(readFileSync(file, { encoding: 'utf8', flag: 'r' }).slice(0, 80)))
    .map((file) => relative(root, file));
}
