import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { launchesDir } from '../../src/launch/places.ts';

/** Makes the launches that are noted those of a process that is gone. @returns how many. */
export function abandonLaunches(): number {
  const notes = readdirSync(launchesDir());
  for (const note of notes) {
    const file = join(launchesDir(), note);
    writeFileSync(file, readFileSync(file, 'utf8').replace(/"start_ticks":\d+/, '"start_ticks":1'));
  }
  return notes.length;
}
