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
 * @param scope `ci`: a claim that a container can honestly show isn't repeated in a VM, and what says so itself
 *   is left out. `full`: everything everywhere.
 */
export function tasksOf(claims: LayerClaim[], scope: Scope): Task[] {
  return PLACES.flatMap((place) =>
    claims
      .filter(
        ({ where, scope: least }) =>
          where.includes(place) &&
          (scope === 'full' || (least === 'ci' && (place === 'container' || !where.includes('container')))),
      )
      // One front door after the other, and those together that can follow each other on a box.
      .sort((a, b) => order(a) - order(b))
      .map((claim) => ({ claim, place })),
  );
}

function order({ front, after, touches }: LayerClaim): number {
  return (front === 'direct' ? 0 : 6) + (after === 'ready' ? 0 : 3) + (touches === 'bans' ? 2 : touches ? 1 : 0);
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
  /**
   * VMs before containers, not both at the same time. An emulated machine needs both of two cores: beside containers its
   * claims took twice as long, and some of them failed for that alone.
   */
  inTurn?: boolean;
  onResult?: (task: Task, result: ClaimResult) => void;
  /** See Stage.run. */
  hold?: Hold;
  /** What went wrong when a stage was taken down; the results stand. */
  onCloseError?: (error: unknown) => void;
}

/**
 * Runs every task once and makes the report. A claim whose box doesn't boot, or whose stage can't be opened, is red and not
 * executed; the rest still runs.
 */
export async function verify(tasks: Task[], verification: Verification): Promise<Report> {
  const started = new Date();
  const outcomes = new Map<Task, Outcome>();
  const opened = new Map<Place, Stage[]>();
  let listening: string[] | undefined;
  const close = async (place: Place) => {
    const stages = opened.get(place) ?? [];
    opened.delete(place);
    listening ??= stages.find((stage) => stage.listening)?.listening;
    for (const stage of stages) await stage.close().catch((error: unknown) => verification.onCloseError?.(error));
  };
  const run = async (task: Task, stage: Promise<Stage>) => {
    const outcome = await runTask(stage, task, verification.hold);
    outcomes.set(task, outcome);
    verification.onResult?.(task, outcome.result);
  };
  const alone = tasks.filter(({ claim }) => claim.alone);
  const work = async (place: Place) => {
    const here = tasks.filter((task) => task.place === place);
    // Each lane takes the next claim when it is through with one.
    const next = here.filter(({ claim }) => !claim.alone).values();
    const lanes = Math.min(verification.lanes?.[place] ?? 1, here.length);
    const stages: Stage[] = [];
    opened.set(place, stages);
    let failed: Promise<Stage> | undefined;
    // One after the other: the first one may have to prepare what all use.
    for (let lane = 0; lane < lanes; lane++) {
      const opening = verification.open(place);
      await opening.then(
        (stage) => stages.push(stage),
        () => {
          failed = opening;
        },
      );
    }
    const usable = stages.length || !failed ? stages.map((stage) => Promise.resolve(stage)) : [failed];
    await settled(
      usable.map(async (stage) => {
        for (const task of next) await run(task, stage);
      }),
    );
    // What runs alone has the whole machine.
    if (!alone.some((task) => task.place === place)) await close(place);
  };
  try {
    if (verification.inTurn) for (const place of PLACES.toReversed()) await work(place);
    else await settled(PLACES.map(work));
    for (const task of alone) {
      const [stage] = opened.get(task.place) ?? [];
      await run(
        task,
        stage
          ? Promise.resolve(stage)
          : Promise.reject(new BuildError('verify', `no ${task.place} stage`, 'see above')),
      );
    }
  } finally {
    await settled([...opened.keys()].map(close));
  }
  return { ...makeReport(verification, started, tasks, outcomes), ...(listening ? { listening } : {}) };
}

/** Waits for all of them, and then throws what one of them threw. */
async function settled(works: Promise<void>[]): Promise<void> {
  for (const work of await Promise.allSettled(works)) if (work.status === 'rejected') throw work.reason;
}

interface Outcome {
  result: ClaimResult;
  /** Whether there was a box to try it on. */
  executed: boolean;
}

async function runTask(stage: Promise<Stage>, { claim, place }: Task, hold?: Hold): Promise<Outcome> {
  const startedAt = performance.now();
  try {
    return { result: await (await stage).run(claim, hold), executed: true };
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const tail = error instanceof BuildError ? error.tail : undefined;
    const evidence = [error.message, tail].filter(Boolean).join('\n');
    const broken = { got: 'no box to try it on', ok: false, evidence };
    const result = {
      ...identify(claim, place),
      control: { expected: claim.control.expect, ...broken },
      attack: { expected: claim.attack.expect, ...broken },
      sabotage: 'until' in claim.sabotage ? claim.sabotage : { expected: claim.sabotage.expect, ...broken },
      seconds: Math.round((performance.now() - startedAt) / 100) / 10,
      ok: false,
    };
    return { result, executed: false };
  }
}

function makeReport(
  { image, layers, scope, only }: Verification,
  started: Date,
  tasks: Task[],
  outcomes: Map<Task, Outcome>,
): Report {
  const all = [...outcomes.values()].map(({ result }) => result);
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
      const claims = own.flatMap((task) => outcomes.get(task)?.result ?? []);
      const { title, promise } = layer;
      return claims.length ? [{ id: layer.name, title, promise, claims }] : [];
    }),
    totals: {
      declared: tasks.length,
      executed: [...outcomes.values()].filter(({ executed }) => executed).length,
      passed: held.length - skipped,
      failed: all.length - held.length,
      skipped,
    },
  };
}
