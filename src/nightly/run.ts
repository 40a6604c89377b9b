import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { BuildError } from '../process/errors.ts';
import type { Progress } from '../process/progress.ts';
import { changesOf, changesSchema, keepFacts, type Measured } from './changes.ts';
import type { Night, StageEntry, StageName } from './night.ts';
import { summary } from './page.ts';
import type { Settings } from './settings.ts';
import { ARGS, bakedSchema, isProven, type Perform, promotedSchema, publishedSchema, redClaims } from './stages.ts';
import { tidy } from './tidy.ts';
import { restoreRuntime, type Updated, updateRuntime } from './update.ts';

export interface NightInputs {
  root: string;
  settings: Settings;
  night: Night;
  /** Earlier nights, oldest first. */
  earlier: Night[];
  perform: Perform;
  update?: typeof updateRuntime;
}

/**
 * Takes a night to its end: what was done before it was cut isn't done again. A base is promoted when all that it needs is
 * green: its own stages on every cloud, and the update. One base's trouble doesn't keep another's image back.
 * @returns the verdict and the line that says why.
 */
export async function runNight(inputs: NightInputs, progress: Progress): Promise<Night['record']> {
  const { night, settings } = inputs;
  const updated = await stage(inputs, progress, { stage: 'update' }, (log) => runUpdate(inputs, log));
  const bases = [];
  for (const base of settings.bases) bases.push(await runBase(inputs, progress, base, updated.state === 'done'));
  const promoted = bases.filter((base) => base.state === 'promoted');
  // Old images go when a night is green; after a bad one somebody may still need them.
  if (bases.every(({ state }) => state !== 'red')) {
    for (const cloud of settings.clouds)
      await stage(inputs, progress, { stage: 'prune', cloud: cloud.name }, (log) =>
        inputs.perform({ stage: 'prune', args: ARGS.prune(settings, cloud), limit: settings.limits.prune, log }),
      );
    const needed = bases.flatMap(({ image }) => image ?? []);
    await stage(inputs, progress, { stage: 'tidy' }, (log) => {
      for (const old of outlived([...inputs.earlier, night], settings.bases, settings.keep))
        rmSync(join(old.dir, 'images'), { recursive: true, force: true });
      return tidy(inputs.root, settings.keep, needed, log);
    });
  }
  // A runtime with which something was promoted stays: going back would bake what is older than what serves.
  const failed = night.record.stages.filter(({ state }) => state === 'failed');
  if (failed.length && !promoted.length) restoreRuntime(inputs.root, keptRuntime(night));
  night.end(...verdictOf(bases, failed));
  return night.record;
}

/** A base's image of a night, as changesOf reads it. */
const factsOf = (night: Night, base: string) => join(night.dir, 'images', base);

const keptRuntime = (night: Night) => join(night.dir, 'runtime-before');

function runUpdate({ root, settings, night, update = updateRuntime }: NightInputs, log: string): Promise<Updated> {
  return settings.update.openclaw || settings.update.node
    ? update(root, settings.update, keptRuntime(night), log)
    : Promise.resolve({});
}

interface BaseOutcome {
  base: string;
  state: 'promoted' | 'same' | 'red';
  image?: string;
  said: string;
}

/** One base: bake, proof, publish everywhere, compare, and only then promote everywhere. */
async function runBase(
  inputs: NightInputs,
  progress: Progress,
  base: string,
  isUpdated: boolean,
): Promise<BaseOutcome> {
  const { settings, perform, earlier, night } = inputs;
  const { limits, scope, clouds } = settings;
  const red = (why: string | undefined): BaseOutcome => {
    const serving = lastPromoted(earlier, base)?.image;
    return { base, state: 'red', said: `${why ?? 'red'}; ${serving ?? 'what was latest'} stays the latest` };
  };
  if (!isUpdated) return red(night.find('update')?.why);

  const baking = await stage(inputs, progress, { stage: 'bake', base }, async (log) =>
    bakedSchema.parse(await perform({ stage: 'bake', args: ARGS.bake(base), limit: limits.bake, log })),
  );
  if (baking.state !== 'done') return red(baking.why);
  const image = bakedSchema.parse(baking.result);

  const proving = await stage(inputs, progress, { stage: 'proof', base }, async (log) => {
    if (isProven(image.path, scope)) return { image: image.id, before: true };
    try {
      await perform({ stage: 'proof', args: ARGS.proof(image.path, scope), limit: limits.proof, log });
    } catch (error) {
      const why = redClaims(image.path);
      if (why && error instanceof BuildError) throw new BuildError('proof', why, error.hint, { log });
      throw error;
    }
    return { image: image.id, before: false };
  });
  if (proving.state !== 'done') return red(proving.why);

  const before = lastPromoted(earlier, base);
  let bootSeconds: number | null = null;
  for (const cloud of clouds) {
    const publishing = await stage(inputs, progress, { stage: 'publish', base, cloud: cloud.name }, async (log) =>
      publishedSchema.parse(
        await perform({ stage: 'publish', args: ARGS.publish(image.path, cloud), limit: limits.publish, log }),
      ),
    );
    if (publishing.state !== 'done') return red(publishing.why);
    bootSeconds ??= publishedSchema.parse(publishing.result).publications[0]?.boot_seconds ?? null;
  }

  const comparing = await stage(inputs, progress, { stage: 'changes', base }, async () => {
    const changes = changesOf({ dir: image.path, bootSeconds }, before, settings.bounds);
    keepFacts(image.path, factsOf(night, base));
    for (const warning of changes.warnings) progress.say(`!! ${base}: ${warning}`);
    if (changes.stops.length)
      throw new BuildError('changes', changes.stops.join('; '), 'npm run promote, where it is as it should be');
    return changes;
  });
  if (comparing.state !== 'done') return red(comparing.why);

  // Promoted once: if it isn't the latest any more, somebody has rolled back, and knew why.
  if (before?.image === image.id)
    return { base, state: 'same', image: image.id, said: `nothing new since ${image.id}` };
  for (const cloud of clouds) {
    const promoting = await stage(inputs, progress, { stage: 'promote', base, cloud: cloud.name }, async (log) =>
      promotedSchema.parse(
        await perform({ stage: 'promote', args: ARGS.promote(base, image.id, cloud), limit: limits.promote, log }),
      ),
    );
    if (promoting.state !== 'done') return red(promoting.why);
  }
  const changed = comparing.result as Parameters<typeof summary>[0];
  return { base, state: 'promoted', image: image.id, said: `${image.id} is the latest, ${summary(changed)}` };
}

/** The image that a base's latest night has promoted, and what was measured of it. */
function lastPromoted(earlier: Night[], base: string): (Measured & { image: string }) | undefined {
  for (const night of earlier.toReversed()) {
    const promoted = night.record.stages.filter((one) => one.stage === 'promote' && one.base === base);
    const baked = bakedSchema.safeParse(night.find('bake', base)?.result);
    if (!baked.success || !promoted.length || promoted.some(({ state }) => state !== 'done')) continue;
    const dir = factsOf(night, base);
    if (!existsSync(join(dir, 'manifest.json'))) continue;
    const changes = changesSchema.safeParse(night.find('changes', base)?.result);
    return { dir, image: baked.data.id, bootSeconds: changes.data?.figures.bootSeconds ?? null };
  }
  return undefined;
}

/** Nights whose images' facts nobody will be held against any more: all but the newest and those that promoted what serves. */
function outlived(nights: Night[], bases: string[], keep: number): Night[] {
  const serving = bases.map((base) => lastPromoted(nights, base)?.dir);
  return nights.slice(0, -keep).filter((night) => !serving.some((dir) => dir?.startsWith(`${night.dir}/`)));
}

/** Runs a stage, unless the night has it behind it; what comes of it is on disk when this returns. */
async function stage(
  { night }: NightInputs,
  progress: Progress,
  what: { stage: StageName; base?: string; cloud?: string },
  work: (log: string) => Promise<unknown>,
): Promise<StageEntry> {
  const known = night.find(what.stage, what.base, what.cloud);
  if (known?.state === 'done') return known;
  const name = [what.base, what.cloud, what.stage].filter(Boolean).join(' ');
  const log = join(night.dir, 'logs', `${name.replaceAll(' ', '-')}.log`);
  const startedAt = performance.now();
  const entry = (more: Pick<StageEntry, 'state'> & Partial<StageEntry>): StageEntry => {
    const ended = { ...what, seconds: Math.round((performance.now() - startedAt) / 100) / 10, ...more };
    night.add(ended);
    return ended;
  };
  try {
    return entry({ state: 'done', result: await progress.step(name, () => work(log)) });
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const tail = error instanceof BuildError ? lineOf(error.tail) : undefined;
    progress.say(`  ${name}: ${message}${existsSync(log) ? ` (${log})` : ''}`);
    return entry({ state: 'failed', why: `${name}: ${tail ?? message}`.replaceAll(/\s+/g, ' ') });
  }
}

/** The line of a failed command that says what failed (renderError). */
const lineOf = (tail: string | undefined) =>
  tail
    ?.split('\n')
    .find((line) => line.startsWith('✖ ') && line.includes(': '))
    ?.slice(2);

function verdictOf(bases: BaseOutcome[], failed: StageEntry[]): [NonNullable<Night['record']['verdict']>, string] {
  const said = bases.map(({ base, said }) => `${base}: ${said}`).join(' | ');
  const after = failed.filter((one) => one.base === undefined && one.stage !== 'update').map(({ why }) => why);
  const all = [said, ...after].join(' | ');
  if (failed.length) return ['red', all];
  return [bases.some(({ state }) => state === 'promoted') ? 'promoted' : 'nothing-new', all];
}
