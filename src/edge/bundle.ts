import { join } from 'node:path';
import { run } from '../process/run.ts';

/** The binary itself, as for biome: its launcher package names platforms that not every npm mirror holds. */
const ESBUILD = 'node_modules/@esbuild/linux-x64/bin/esbuild';

/** What the bundled Worker was tried with; a newer one is taken together with a newer workerd. */
export const COMPATIBILITY_DATE = '2026-11-01';

/**
 * Makes one module of the Worker and all that it imports.
 * @param to a file.
 * @throws BuildError with what esbuild says.
 */
export async function bundleWorker(root: string, to: string): Promise<void> {
  const entry = join(root, 'layers/06-cloudflare/edge/worker/worker.ts');
  // `workerd` picks what packages have for Workers.
  const how = ['--bundle', '--format=esm', '--target=es2024', '--platform=neutral', '--main-fields=module,main'];
  await run(
    join(root, ESBUILD),
    [entry, ...how, '--conditions=workerd,worker', '--log-level=warning', `--outfile=${to}`],
    {
      step: 'bundle',
      cwd: root,
    },
  );
}
