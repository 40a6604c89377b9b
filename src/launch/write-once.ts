import { closeSync, fsyncSync, linkSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/**
 * Writes a private file (0600) at once or not at all, also across a power cut.
 * @param when `always` replaces what is there; `absent` leaves it and returns false.
 */
export function writeWhole(path: string, content: string, when: 'always' | 'absent'): boolean {
  const dir = dirname(path);
  const work = join(dir, `.${basename(path)}.${process.pid}.${performance.now().toString(36)}`);
  // x: it is ours from its first moment, with these permissions.
  writeFileSync(work, content, { mode: 0o600, flag: 'wx', flush: true });
  try {
    if (when === 'always') renameSync(work, path);
    else linkSync(work, path);
    const folder = openSync(dir, 'r');
    fsyncSync(folder);
    closeSync(folder);
    return true;
  } catch (error) {
    if (when === 'absent' && (error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(work, { force: true });
  }
}
