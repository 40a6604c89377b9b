import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { Command } from 'commander';
import { listFiles } from '../manifest/layers.ts';
import { inputError } from '../process/errors.ts';

/** Lines shown of each log. */
const TAIL = 30;

export function logsCommand(root: string): Command {
  return new Command('logs').description('show the ends of the newest run’s logs').action(() => {
    const dir = newestRun(join(root, 'dist'));
    if (!dir) throw inputError('logs', 'there are no logs yet', 'make bake');
    for (const file of listFiles(join(dir, 'logs'))) {
      const lines = readFileSync(file, 'utf8').trimEnd().split('\n').slice(-TAIL);
      process.stdout.write(`==> ${relative(root, file)}\n${lines.join('\n')}\n`);
    }
  });
}

/** The image or failed bake that was touched last. */
export function newestRun(dist: string): string | undefined {
  const folders = [dist, join(dist, '.failed'), join(dist, '.work')]
    .filter((dir) => existsSync(dir))
    .flatMap((dir) =>
      readdirSync(dir, { withFileTypes: true })
        .filter((entry) => entry.isDirectory() && existsSync(join(dir, entry.name, 'logs')))
        .map((entry) => join(dir, entry.name)),
    );
  return folders.sort((a, b) => statSync(a).mtimeMs - statSync(b).mtimeMs).at(-1);
}
