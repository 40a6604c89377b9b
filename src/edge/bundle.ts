import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../process/run.ts';

/** The binary itself, as for biome: its launcher package names platforms that not every npm mirror holds. */
const ESBUILD = 'node_modules/@esbuild/linux-x64/bin/esbuild';

/** What the bundled Worker was tried with; a newer one is taken together with a newer workerd. */
export const COMPATIBILITY_DATE = '2026-11-01';

/**
 * Makes one module of the Worker and all that it imports: of the same sources the same bytes, wherever they lie.
 * @returns the module.
 * @throws BuildError with what esbuild says.
 */
export async function bundledWorker(root: string): Promise<string> {
  const entry = join(root, 'layers/06-cloudflare/edge/worker/worker.ts');
  // `workerd` picks what packages have for Workers. Without white space there are no comments, which name places of files.
  const how = ['--bundle', '--format=esm', '--target=es2024', '--platform=neutral', '--main-fields=module,main'];
  const more = ['--conditions=workerd,worker', '--log-level=warning', '--minify-whitespace', '--legal-comments=none'];
  const { stdout } = await run(join(root, ESBUILD), [entry, ...how, ...more], { step: 'bundle', cwd: root });
  return stdout;
}

/** The same into a file. */
export async function bundleWorker(root: string, to: string): Promise<void> {
  writeFileSync(to, await bundledWorker(root));
}
