import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { readImage } from '../manifest/image.ts';
import { BuildError } from '../process/errors.ts';
import { run } from '../process/run.ts';
import { requireProof } from '../publish/proof.ts';
import { reportSchema } from '../verify/report/schema.ts';
import type { StageName } from './night.ts';
import type { Settings } from './settings.ts';

/** A stage as a command of this project: it can be repeated by hand, and is its own process with its own end. */
export interface Call {
  stage: StageName;
  args: string[];
  /** Seconds until it is ended. */
  limit: number;
  log: string;
}

/** Carries a call out. @returns what it printed as JSON. @throws BuildError */
export type Perform = (call: Call) => Promise<unknown>;

/** As a process; what it says goes to the log, and the line of a failure that matters into the error. */
export function performer(root: string): Perform {
  return async ({ stage, args, limit, log }) => {
    const words = ['build.ts', ...args];
    // Nobody is there to be asked.
    const env = { CI: '1' };
    const { stdout } = await run(process.execPath, words, {
      ...{ step: stage, cwd: root, log, env, timeout: limit * 1000 },
      hint: `repeat it: node ${words.join(' ')}`,
    });
    try {
      return JSON.parse(stdout);
    } catch {
      throw new BuildError(stage, `node ${words.join(' ')} printed no JSON`, 'read its log', { log });
    }
  };
}

const cloudWords = ({ name, regions }: Settings['clouds'][number]) => [
  ...['--cloud', name],
  ...(regions.length ? ['--region', regions.join(',')] : []),
];

/** What each stage runs; options are those of the commands themselves. */
export const ARGS = {
  bake: (base: string) => ['bake', '--base', base, '--no-fallback', '--json'],
  proof: (path: string, scope: Settings['scope']) => ['verify', '--image', path, '--scope', scope, '--json'],
  publish: (path: string, cloud: Settings['clouds'][number]) => [
    ...['publish', '--image', path, '--yes', '--json'],
    ...cloudWords(cloud),
  ],
  promote: (base: string, image: string, cloud: Settings['clouds'][number]) => [
    ...['promote', '--base', base, '--image', image, '--yes', '--json'],
    ...cloudWords(cloud),
  ],
  prune: ({ keep, graceDays }: Settings, cloud: Settings['clouds'][number]) => [
    ...['prune', '--keep', `${keep}`, '--grace', `${graceDays}`, '--yes', '--json'],
    ...cloudWords(cloud),
  ],
};

/** Of what the commands print, what a night goes by. */
export const bakedSchema = z.object({ id: z.string(), path: z.string(), cached: z.boolean(), seconds: z.number() });
export const publishedSchema = z.object({
  publications: z.array(
    z.object({ region: z.string(), image_id: z.string(), bytes_sent: z.number(), boot_seconds: z.number().nullish() }),
  ),
});
/** Moves that were made; none where it was the latest already. */
export const promotedSchema = z.array(z.object({ channel: z.string() }));

/** Whether an image has been proven before, so that a night of nothing new takes seconds. */
export function isProven(path: string, scope: Settings['scope']): boolean {
  try {
    requireProof(path, readImage(path), scope);
    return true;
  } catch (error) {
    if (error instanceof BuildError) return false;
    throw error;
  }
}

/** Why a proof is red, by its claims; undefined where the report doesn't say. */
export function redClaims(path: string): string | undefined {
  const file = join(path, 'verify', 'report.json');
  if (!existsSync(file)) return undefined;
  const parsed = reportSchema.safeParse(JSON.parse(readFileSync(file, 'utf8')));
  if (!parsed.success) return undefined;
  const red = parsed.data.layers.flatMap(({ claims }) => claims.filter(({ ok }) => !ok));
  const names = red.slice(0, 5).map(({ id, target }) => `${id} (${target})`);
  const more = red.length > names.length ? ` and ${red.length - names.length} more` : '';
  return red.length ? `red claims: ${names.join(', ')}${more}` : undefined;
}
