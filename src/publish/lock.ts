import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BuildError } from '../process/errors.ts';
import { start } from '../process/run.ts';

/**
 * One command at a time changes what is published in a cloud. The kernel holds the lock (flock(1)) for a child that ends
 * with us however we end, so a killed run never blocks the next.
 *
 * @returns what releases it.
 * @throws BuildError when another has it.
 */
export async function lockCloud(dir: string, cloud: string): Promise<() => Promise<void>> {
  mkdirSync(dir, { recursive: true });
  const file = join(dir, `.${cloud}.lock`);
  const child = start('flock', ['--nonblock', '--no-fork', file, 'sh', '-c', 'echo held; exec cat'], {
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'ignore',
    buffer: false,
  });
  const [said] = await Promise.race([once(child.stdout as NodeJS.EventEmitter, 'data'), child.then(() => [''])]);
  if (!String(said).startsWith('held')) {
    const hint = `wait for it to end; who holds it: fuser ${file}`;
    throw new BuildError('publish', `another run is changing what is published on ${cloud}`, hint);
  }
  writeFileSync(file, `${process.pid}\n`);
  return async () => {
    child.stdin?.end();
    await child;
  };
}
