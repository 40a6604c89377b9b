import { once } from 'node:events';
import { realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BuildError } from '../process/errors.ts';
import { start } from '../process/run.ts';
import { inFolder } from './journal.ts';

/**
 * One command at a time changes what folders hold: what is published and its journals, which all clouds share; keys.
 *
 * @param dirs folders; for publishing that of journals, and the local cloud's store, which other checkouts may use too.
 * @param what another run is changing, for the error.
 * @returns what releases it.
 * @throws BuildError when another has it.
 */
export async function lockFolders(dirs: readonly string[], what = 'what is published'): Promise<() => Promise<void>> {
  const held: (() => Promise<void>)[] = [];
  const release = async () => {
    for (const end of held) await end();
  };
  try {
    for (const dir of new Set(dirs.map(real))) held.push(await lockFolder(dir, what));
  } catch (error) {
    await release();
    throw error;
  }
  return release;
}

/** One folder by two names would be waited for for ever. */
function real(dir: string): string {
  return inFolder(dir, () => realpathSync(dir));
}

/** The kernel holds the lock (flock(1)) for a child that ends with us however we end, so a killed run never blocks the next. */
async function lockFolder(dir: string, what: string): Promise<() => Promise<void>> {
  const file = join(dir, '.lock');
  // Also what flock(1) would only fail at: a folder in its place, a file that isn't ours.
  inFolder(dir, () => writeFileSync(file, '', { flag: 'a' }));
  const child = start('flock', ['--nonblock', '--no-fork', file, 'sh', '-c', 'echo held; exec cat'], {
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'ignore',
    buffer: false,
  });
  const [said] = await Promise.race([once(child.stdout as NodeJS.EventEmitter, 'data'), child.then(() => [''])]);
  if (!String(said).startsWith('held')) {
    // 1: somebody has it (flock(1), --conflict-exit-code); anything else is flock's own trouble.
    const { exitCode } = await child;
    if (exitCode !== 1)
      throw new BuildError('lock', `${file} can't be locked (flock ended with ${exitCode})`, 'is it on a local disk?');
    const hint = `wait for it to end; who holds it: fuser ${file}`;
    throw new BuildError('lock', `another run is changing ${what} (${dir})`, hint);
  }
  return async () => {
    child.stdin?.end();
    await child;
  };
}
