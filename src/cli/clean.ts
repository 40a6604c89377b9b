import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { cacheRoot } from '../plan/cache.ts';
import { staleWorkFolders } from '../plan/work-folder.ts';
import { has, run } from '../process/run.ts';

/** What the container tests imported. Without Docker there is nothing to remove. */
async function dockerImages(): Promise<string[]> {
  if (!(await has('docker'))) return [];
  const format = '{{.Repository}}:{{.Tag}}';
  const { stdout } = await run('docker', ['images', '--format', format, 'clawdy-*'], { step: 'clean', ok: [0, 1] });
  return stdout.split('\n').filter(Boolean);
}

export function cleanCommand(root: string): Command {
  return new Command('clean')
    .description('remove images; with --cache also what bakes reuse')
    .option('--cache', 'also empty the cache of bases, prepared trees and runtimes, and their images in Docker', false)
    .option('--plan', 'list what would be removed and stop', false)
    .action(async (options: { cache: boolean; plan: boolean }) => {
      // What killed runs of the bench left is of no use to anybody, so it isn't the cache's.
      const cache = options.cache ? [cacheRoot()] : staleWorkFolders();
      const doomed = [join(root, 'dist'), ...cache].filter((path) => existsSync(path));
      for (const path of doomed) {
        process.stderr.write(`${options.plan ? 'would remove' : 'removing'} ${path}\n`);
        if (!options.plan) await rm(path, { recursive: true, force: true });
      }
      const images = options.cache ? await dockerImages() : [];
      for (const image of images) {
        process.stderr.write(`${options.plan ? 'would remove' : 'removing'} Docker's ${image}\n`);
        if (!options.plan) await run('docker', ['rmi', image], { step: 'clean' });
      }
      if (!doomed.length && !images.length) process.stderr.write('nothing to remove\n');
    });
}
