/**
 * Makes the mistakes of mutations.yaml, one at a time, on boxes of the newest image, and looks whether the claim named there
 * notices: its control succeeds and its attack does too. Where one of the box's own checks closes the box before that, it is
 * said, that check is made to pass, and the claim must notice by itself.
 *
 *   node test/mutations/run.ts [words of a mistake]
 *
 * By hand, after a change to claims: about half a minute each.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { z } from 'zod';
import { archivePayload } from '../../src/bake/payload.ts';
import { copyProject } from '../../src/bench/ours.ts';
import { loadLayers } from '../../src/manifest/layers.ts';
import { readYaml } from '../../src/manifest/yaml-file.ts';
import { workFolder } from '../../src/plan/work-folder.ts';
import { inputError, renderError } from '../../src/process/errors.ts';
import { type LayerClaim, loadClaims } from '../../src/verify/claims/load.ts';
import type { ClaimResult, Verdict } from '../../src/verify/report/schema.ts';
import { applyBeforeBoot } from '../../src/verify/stages/apply-layer.ts';
import { ContainerStage, imageTag } from '../../src/verify/stages/container.ts';
import type { BeforeBoot } from '../../src/verify/targets/container.ts';
import { verify } from '../../src/verify/verify.ts';
import { IMAGE_DIR, imageUnderTest, ROOT } from '../image.ts';

const mutations = z.array(
  z.strictObject({ mistake: z.string(), file: z.string(), from: z.string(), to: z.string(), claim: z.string() }),
);

type Mutation = z.output<typeof mutations>[number];

interface Notice {
  /** The box's own check that closed it first. */
  check?: string;
  /** How the claim noticed; undefined where it didn't. */
  how: string | undefined;
  /** What came of it, where it noticed nothing. */
  instead: string;
}

async function noticed({ file, from, to, claim: id }: Mutation, work: string): Promise<Notice> {
  const project = join(work, 'project');
  await copyProject(ROOT, project);
  const path = join(project, file);
  const text = readFileSync(path, 'utf8');
  if (!text.includes(from)) throw inputError('mutations', `${file} has no '${from}'`, 'mend mutations.yaml');
  writeFileSync(path, text.replaceAll(from, to));
  const layers = loadLayers(project);
  const layer = layers.find(({ dir }) => path.startsWith(`${dir}/`));
  // The claim as it is: the mistake is in the box.
  const claim = loadClaims(ROOT, loadLayers(ROOT)).find((one) => one.id === id);
  if (!layer || !claim) throw inputError('mutations', `${file} or ${id} is nobody's`, 'mend mutations.yaml');
  const payload = join(work, 'payload.tar');
  await archivePayload(layers, project, work, payload, { id: 'mutation', base: 'mutation' });
  const before = applyBeforeBoot(payload, layer.name);
  const first = await tryClaim(claim, before);
  const [, kind, check] = /clawdy: closed: selfcheck (static|live): (\S+)/.exec(first.control.evidence) ?? [];
  if (!check) return judge(first);
  const unchecked = `${before.command} && echo '#!/bin/sh' >/usr/lib/clawdy/checks/${kind}.d/${check}`;
  return { check: `${kind} check ${check}`, ...judge(await tryClaim(claim, { ...before, command: unchecked })) };
}

async function tryClaim(claim: LayerClaim, before: BeforeBoot): Promise<ClaimResult> {
  const tag = await imageTag(IMAGE_DIR);
  const report = await verify([{ claim, place: 'container' }], {
    image: imageUnderTest(),
    layers: [claim.layer],
    scope: 'ci',
    open: () => ContainerStage.open(ROOT, tag, { before }),
  });
  return report.layers[0]?.claims[0] as ClaimResult;
}

/** Only a red attack beside a green control tells that the claim saw the mistake. */
function judge({ control, attack }: ClaimResult): Notice {
  const words = ({ expected, got, evidence }: Verdict) =>
    `expected ${expected}, got ${got}: ${evidence.trim().split('\n').at(-1)}`;
  if (!control.ok) return { how: undefined, instead: `its control broke: ${words(control)}` };
  const how = attack.ok || attack.got.startsWith('the attempt broke') ? undefined : `attack: ${words(attack)}`;
  return { how, instead: `noticed nothing: ${words(attack)}` };
}

const wanted = process.argv.slice(2).join(' ');
const file = join(import.meta.dirname, 'mutations.yaml');
try {
  const all = readYaml(file, mutations, 'mutations').filter(({ mistake }) => mistake.includes(wanted));
  if (!all.length) throw inputError('mutations', `no mistake says '${wanted}'`, `see ${relative(ROOT, file)}`);
  for (const mutation of all) {
    const { work, remove } = workFolder('mutation');
    try {
      const { check, how, instead } = await noticed(mutation, work);
      process.stdout.write(
        `${how ? '✔' : '✖'} ${mutation.mistake}\n${check ? `    the box closes itself: ${check}\n` : ''}    ${mutation.claim}: ${how ?? instead}\n`,
      );
      if (!how) process.exitCode = 1;
    } finally {
      remove();
    }
  }
} catch (error) {
  process.stderr.write(`${renderError(error)}\n`);
  process.exitCode = 1;
}
