import { relative } from 'node:path';
import { probeAccelerator } from '../doctor/accelerator.ts';
import { type ImageManifest, readImage } from '../manifest/image.ts';
import { findLayer, type Layer, loadLayers } from '../manifest/layers.ts';
import { workFolder } from '../plan/work-folder.ts';
import { inputError, renderError } from '../process/errors.ts';
import type { Progress } from '../process/progress.ts';
import { rawDisk } from '../seal/closed-disk.ts';
import { loadClaims } from './claims/load.ts';
import { keep } from './keep.ts';
import type { Report, Scope } from './report/schema.ts';
import { renderClaim } from './report/text.ts';
import { forgetReport, writeReport } from './report/write.ts';
import { ContainerStage, imageTag } from './stages/container.ts';
import type { Stage } from './stages/stage.ts';
import { VmStage } from './stages/vm.ts';
import { type Task, tasksOf, verify } from './verify.ts';

/** On two cores: one box boots while another is attacked. */
const LANES = { container: 2 };

/** Which claims, and where. */
export interface Choice {
  scope: Scope;
  /** Only there. */
  in?: Stage['kind'];
  /** Only this layer: folder name, or its number. */
  layer?: string;
  /** Only this claim. */
  claim?: string;
  /** Keep the box as the sabotage left it, for `make shell`. */
  keep?: boolean;
}

export interface Proof {
  dir: string;
  image: ImageManifest;
  layers: Layer[];
  scope: Scope;
  tasks: Task[];
  /** What was chosen, where not all. */
  only: string | undefined;
  keep: boolean;
}

/** @throws BuildError (input): no image, or no claim that matches. */
export function prepareProof(root: string, dir: string, options: Choice): Proof {
  if (options.keep && !options.claim) throw inputError('verify', '--keep without a claim', 'name one: --claim <id>');
  const image = readImage(dir);
  const layers = loadLayers(root);
  const claims = loadClaims(root, layers);
  const layer = options.layer ? findLayer(layers, options.layer) : undefined;
  const only = [
    layer && `layer ${layer.name}`,
    options.claim && `claim ${options.claim}`,
    options.in && `in ${options.in}`,
  ].filter(Boolean);
  const wanted = claims.filter(
    (claim) => (!options.claim || claim.id === options.claim) && (!layer || claim.layer === layer),
  );
  const tasks = tasksOf(wanted, options.scope).filter(({ place }) => !options.in || place === options.in);
  if (!tasks.length)
    throw inputError('verify', `no claim matches: ${only.join(', ')}`, 'npm run -s verify -- --plan lists them');
  if (options.keep && tasks.length > 1)
    throw inputError('verify', '--keep would have to keep two boxes', 'say which: --in container, or --in vm');
  return {
    dir,
    image,
    layers,
    scope: options.scope,
    tasks,
    only: only.join(', ') || undefined,
    keep: options.keep ?? false,
  };
}

/** Runs the claims with a line each, and keeps the report where it is whole. */
export async function runProof(
  root: string,
  { dir, tasks, only, keep: wanted, ...about }: Proof,
  progress: Progress,
): Promise<Report> {
  if (!only) {
    forgetReport(dir, about.scope);
    // What the report then says of this digest was seen on this disk, and on a tree that is equal to it.
    await progress.step('the disk is the one that was sealed', () => checkDisk(dir, about.image));
  }
  const report = await verify(tasks, {
    ...about,
    onCloseError: (error) => progress.say(renderError(error)),
    lanes: LANES,
    inTurn: (await probeAccelerator()) === 'tcg',
    ...(only ? { only } : {}),
    open: (place) =>
      progress.step<Stage>(`open the ${place} stage`, () =>
        place === 'container'
          ? imageTag(dir).then((tag) =>
              ContainerStage.open(root, tag, { onUnfit: (error) => progress.say(renderError(error)) }),
            )
          : VmStage.open(root, dir, progress, needed(tasks)),
      ),
    onResult: ({ claim }, result) => progress.say(`  ${renderClaim(claim.layer.name, result)}`),
    ...(wanted
      ? {
          hold: async (box, result) => {
            const { id, target } = result;
            progress.say(`  ${renderClaim(tasks[0]?.claim.layer.name ?? '', result)}`);
            progress.say(
              `the ${target} of ${id} is kept as it is now: \`make shell\` elsewhere enters it, Ctrl-C here ends it`,
            );
            await keep(box, id);
          },
        }
      : {}),
  });
  const { totals } = report;
  progress.say(
    `${totals.passed} of ${totals.declared} claims hold${totals.skipped ? `, ${totals.skipped} more without a sabotage` : ''}`,
  );
  if (!only) progress.say(`report: ${relative(root, writeReport(dir, report))}/report.html`);
  return report;
}

/** How far a machine must have come for its claims. */
const needed = (tasks: Task[]): Task['claim']['after'] =>
  tasks.some(({ place, claim }) => place === 'vm' && claim.after === 'live') ? 'live' : 'ready';

async function checkDisk(dir: string, image: ImageManifest): Promise<void> {
  const { work, remove } = workFolder('disk');
  try {
    await rawDisk(dir, image, work);
  } finally {
    remove();
  }
}
