import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { jsonOf } from '../contract/text.ts';
import { checkId, replacementsDir } from '../launch/places.ts';
import { writeWhole } from '../launch/write-once.ts';
import { inputError } from '../process/errors.ts';

/**
 * How far a replacement is. `begun`: nobody has touched the old instance. `moving`: its OpenClaw has ended. Both are taken back.
 * `leading`: the new one has checked itself and has all; what is left is done, not taken back. `returning`: the old one goes on, and
 * slugs lead to it again.
 */
const journalSchema = z.strictObject({
  version: z.literal(1),
  phase: z.enum(['begun', 'moving', 'leading', 'returning']),
  suspect: z.boolean(),
  /** That lead, or led, to the one that is left. */
  slugs: z.array(z.string()),
});
export type Noted = Omit<z.output<typeof journalSchema>, 'version'>;

const fileOf = (old: string) => join(replacementsDir(), `${checkId(old)}.json`);

/** @returns undefined where none is on its way. @throws BuildError (input) for a file that can't be read. */
export function readReplacement(old: string): Noted | undefined {
  const file = fileOf(old);
  if (!existsSync(file)) return undefined;
  const parsed = journalSchema.safeParse(jsonOf(readFileSync(file, 'utf8')));
  if (parsed.success) return parsed.data;
  throw inputError('replace', `${file} can't be read`, 'nothing was changed; put back the file, or move it away');
}

export function noteReplacement(old: string, noted: Noted): void {
  const { phase, suspect, slugs } = noted;
  mkdirSync(replacementsDir(), { recursive: true, mode: 0o700 });
  writeWhole(fileOf(old), `${JSON.stringify({ version: 1, phase, suspect, slugs })}\n`, 'always');
}

export function forgetReplacement(old: string): void {
  rmSync(fileOf(old), { force: true });
}
