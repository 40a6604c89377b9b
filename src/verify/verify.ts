import type { ImageManifest } from '../manifest/image.ts';
import type { Layer } from '../manifest/layers.ts';
import { BuildError } from '../process/errors.ts';
import type { LayerClaim } from './claims/load.ts';
import { identify } from './claims/run-claim.ts';
import type { ClaimResult, Report, Scope } from './report/schema.ts';
import type { Hold, Stage } from './stages/stage.ts';

type Place = Stage['kind'];

/** The cheaper one first. */
const PLACES: readonly Place[] = ['container', 'vm'];

/** A claim and a place where it is to be shown. */
export interface Task {
  claim: LayerClaim;
  place: Place;
}

/**
 * What a scope asks for, the cheaper place first.
 *
 * @param scope `ci`: a claim that a container can honestly show isn't repeated in a VM. `full`: everything everywhere.
 */
export function tasksOf(claims: LayerClaim[], scope: Scope): Task[] {
  return PLACES.flatMap((place) =>
    claims
      .filter(
        ({ where }) =>
          where.includes(place) && (scope === 'full' || place === 'container' || !where.includes('container')),
      )
      // One front door after the other: each has its own box, or its own machine.
      .sort((a, b) => order(a) - order(b))
      .map((claim) => ({ claim, place })),
  );
}

function order({ front }: LayerClaim): number {
  return front === 'direct' ? 0 : 1;
}

export interface Verification {
  image: ImageManifest;
  layers: Layer[];
  scope: Scope;
  /** Which claims were asked for, where not all. */
  only?: string;
  /** Opens a stage: so many a place as there are lanes, and only for places that a task needs. */
  open: (place: Place) => Promise<Stage>;
  /** How many claims run side by side; a container's are mostly waiting. */
  lanes?: Partial<Record<Place, number>>;
  onResult?: (task: Task, result: ClaimResult) => void;
  /** See Stage.run. */
  hold?: Hold;
}

/**
 * Runs every task once and makes the report. Containers and VMs work at the same time: an emulated machine keeps one core
 * busy. A box that doesn't boot makes its claim red, and the rest still runs.
 *
 * @throws BuildError where a place can't be opened at all.
 */
export async function verify(tasks: Task[], verification: Verification): Promise<Report> {
  const started = new Date();
  const results = new Map<Task, ClaimResult>();
  const opened = new Map<Place, Stage[]>();
  const close = async (place: Place) => {
    const stages = opened.get(place) ?? [];
    opened.delete(place);
    await Promise.all(stages.map((stage) => stage.close()));
  };
  const run = async (stage: Stage, task: Task) => {
    const result = await runTask(stage, task, verification.hold);
    results.set(task, result);
    verification.onResult?.(task, result);
  };
  const alone = tasks.filter(({ claim }) => claim.alone);
  try {
    await settled(
      PLACES.map(async (place) => {
        const here = tasks.filter((task) => task.place === place);
        const stages: Stage[] = [];
        opened.set(place, stages);
        const lanes = Math.min(verification.lanes?.[place] ?? 1, here.length);
        for (let lane = 0; lane < lanes; lane++) stages.push(await verification.open(place));
        // Each lane takes the next claim when it is through with one.
        const next = here.filter(({ claim }) => !claim.alone).values();
        await settled(
          stages.map(async (stage) => {
            for (const task of next) await run(stage, task);
          }),
        );
        // What runs alone has the whole machine.
        if (!alone.some((task) => task.place === place)) await close(place);
      }),
    );
    for (const task of alone) await run(opened.get(task.place)?.[0] as Stage, task);
  } finally {
    await settled([...opened.keys()].map(close));
  }
  return makeReport(verification, started, tasks, results);
}

/** Waits for all of them, and then throws what one of them threw. */
async function settled(works: Promise<void>[]): Promise<void> {
  for (const work of await Promise.allSettled(works)) if (work.status === 'rejected') throw work.reason;
}

async function runTask(stage: Stage, { claim, place }: Task, hold?: Hold): Promise<ClaimResult> {
  const startedAt = performance.now();
  try {
    return await stage.run(claim, hold);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const tail = error instanceof BuildError ? error.tail : undefined;
    const evidence = [error.message, tail].filter(Boolean).join('\n');
    const broken = { got: 'no box to try it on', ok: false, evidence };
    return {
      ...identify(claim, place),
      control: { expected: claim.control.expect, ...broken },
      attack: { expected: claim.attack.expect, ...broken },
      sabotage: 'until' in claim.sabotage ? claim.sabotage : { expected: claim.sabotage.expect, ...broken },
      seconds: Math.round((performance.now() - startedAt) / 100) / 10,
      ok: false,
    };
  }
}

function makeReport(
  { image, layers, scope, only }: Verification,
  started: Date,
  tasks: Task[],
  results: Map<Task, ClaimResult>,
): Report {
  const all = [...results.values()];
  const held = all.filter(({ ok }) => ok);
  const skipped = held.filter(({ sabotage }) => 'until' in sabotage).length;
  return {
    schema: 1,
    image: image.id,
    base: image.base.id,
    rawSha256: image.disk.rawSha256,
    scope,
    ...(only ? { only } : {}),
    started: started.toISOString(),
    seconds: Math.round((Date.now() - started.getTime()) / 1000),
    layers: layers.flatMap((layer) => {
      const own = tasks.filter(({ claim }) => claim.layer === layer);
      const claims = own.flatMap((task) => results.get(task) ?? []);
      const { title, promise } = layer;
      return claims.length ? [{ id: layer.name, title, promise, claims }] : [];
    }),
    totals: {
      declared: tasks.length,
      executed: all.length,
      passed: held.length - skipped,
      failed: all.length - held.length,
      skipped,
    },
  };
}
