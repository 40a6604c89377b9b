import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { cacheRoot } from '../plan/cache.ts';

export function cleanCommand(root: string): Command {
  return new Command('clean')
    .description('remove images; with --cache also what bakes reuse')
    .option('--cache', 'also empty the cache of bases, prepared trees and runtimes', false)
    .option('--plan', 'list what would be removed and stop', false)
    .action(async (options: { cache: boolean; plan: boolean }) => {
      const doomed = [join(root, 'dist'), ...(options.cache ? [cacheRoot()] : [])].filter((path) => existsSync(path));
      for (const path of doomed) {
        process.stderr.write(`${options.plan ? 'would remove' : 'removing'} ${path}\n`);
        if (!options.plan) await rm(path, { recursive: true, force: true });
      }
      if (!doomed.length) process.stderr.write('nothing to remove\n');
    });
}
