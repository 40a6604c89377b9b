import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { identify, isAlive } from '../../process/guarded.ts';
import { INSTANCE_ID, instancesDir, machineDir } from '../places.ts';
import { hasRecord } from '../records.ts';

/** In an instance's folder while it is being launched: by which process. */
const OWNER = 'owner.json';

/** Says that a folder is being filled by this process: before anything secret is in it. */
export function own(dir: string): void {
  writeFileSync(join(dir, OWNER), JSON.stringify(identify(process.pid)), { mode: 0o600, flag: 'wx' });
}

/** From here on nothing but `stop` removes the folder. */
export function disown(dir: string): void {
  rmSync(join(dir, OWNER), { force: true });
}

/**
 * Removes what launches left that were killed before their machine's guard was there to do it: folders whose owner is
 * dead and that have no record. One without an owner was kept, or holds nothing yet.
 * @returns the IDs.
 */
export function sweep(): string[] {
  const left = readdirSync(instancesDir()).filter(
    // In this order: a launch that has just ended well has a record by now.
    (name) => INSTANCE_ID.test(name) && ownerIsDead(machineDir(name)) && !hasRecord(name),
  );
  // A child of that launch may still be writing there.
  for (const id of left) rmSync(machineDir(id), { recursive: true, force: true, maxRetries: 5 });
  return left;
}

function ownerIsDead(dir: string): boolean {
  try {
    return !isAlive(JSON.parse(readFileSync(join(dir, OWNER), 'utf8')));
  } catch {
    return false;
  }
}
