import type { ImageManifest } from '../manifest/image.ts';
import type { Layer } from '../manifest/layers.ts';
import { BuildError } from '../process/errors.ts';
import type { LayerClaim } from './claims/load.ts';
import { identify } from './claims/run-claim.ts';
import type { ClaimResult, Report, Scope } from './report/schema.ts';
import type { Hold, Stage } from './stages/stage.ts';

type Place = Stage['kind'];

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
  const places: Place[] = ['container', 'vm'];
  return places.flatMap((place) =>
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
  /** Opens a stage; called once a place, and only for places that a task needs. */
  open: (place: Place) => Promise<Stage>;
  onResult?: (task: Task, result: ClaimResult) => void;
  /** See Stage.run. */
  hold?: Hold;
}

/**
 * Runs every task once, one after the other, and makes the report. A box that doesn't boot makes its claim red, and the
 * rest still runs.
 *
 * @throws BuildError where a place can't be opened at all.
 */
export async function verify(tasks: Task[], { open, onResult, hold, ...about }: Verification): Promise<Report> {
  const started = new Date();
  const results: { task: Task; result: ClaimResult }[] = [];
  let stage: Stage | undefined;
  try {
    for (const task of tasks) {
      if (stage?.kind !== task.place) {
        await stage?.close();
        stage = undefined;
        stage = await open(task.place);
      }
      const result = await runTask(stage, task, hold);
      results.push({ task, result });
      onResult?.(task, result);
    }
  } finally {
    await stage?.close();
  }
  return makeReport(about, started, tasks.length, results);
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
  { image, layers, scope, only }: Omit<Verification, 'open' | 'onResult' | 'hold'>,
  started: Date,
  declared: number,
  results: { task: Task; result: ClaimResult }[],
): Report {
  const held = results.filter(({ result }) => result.ok);
  const skipped = held.filter(({ result }) => 'until' in result.sabotage).length;
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
      const claims = results.filter(({ task }) => task.claim.layer === layer).map(({ result }) => result);
      const { title, promise } = layer;
      return claims.length ? [{ id: layer.name, title, promise, claims }] : [];
    }),
    totals: {
      declared,
      executed: results.length,
      passed: held.length - skipped,
      failed: results.length - held.length,
      skipped,
    },
  };
}
