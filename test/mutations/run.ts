/**
 * Makes the mistakes of mutations.yaml, one at a time, on boxes of the newest image, and looks whether the claim named there
 * notices: goes red at its attack or control, or the box closes itself before it can be attacked.
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
import { loadClaims } from '../../src/verify/claims/load.ts';
import { redParts } from '../../src/verify/report/parts.ts';
import { applyBeforeBoot } from '../../src/verify/stages/apply-layer.ts';
import { ContainerStage, imageTag } from '../../src/verify/stages/container.ts';
import { verify } from '../../src/verify/verify.ts';
import { IMAGE_DIR, imageUnderTest, ROOT } from '../image.ts';

const mutations = z.array(
  z.strictObject({ mistake: z.string(), file: z.string(), from: z.string(), to: z.string(), claim: z.string() }),
);

type Mutation = z.output<typeof mutations>[number];

/** What the claim made of a box with the mistake in it; undefined where it noticed nothing. */
async function noticed({ file, from, to, claim: id }: Mutation, work: string): Promise<string | undefined> {
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
  const tag = await imageTag(IMAGE_DIR);
  const report = await verify([{ claim, place: 'container' }], {
    image: imageUnderTest(),
    layers: [claim.layer],
    scope: 'ci',
    open: () => ContainerStage.open(ROOT, tag, before),
  });
  const [result] = report.layers[0]?.claims ?? [];
  const red = result ? redParts(result).filter(([name]) => name !== 'sabotage') : [];
  return red.map(
    ([name, { expected, got, evidence }]) => `${name}: expected ${expected}, got ${got}: ${evidence.split('\n')[0]}`,
  )[0];
}

const wanted = process.argv.slice(2).join(' ');
const file = join(import.meta.dirname, 'mutations.yaml');
try {
  const all = readYaml(file, mutations, 'mutations').filter(({ mistake }) => mistake.includes(wanted));
  if (!all.length) throw inputError('mutations', `no mistake says '${wanted}'`, `see ${relative(ROOT, file)}`);
  for (const mutation of all) {
    const { work, remove } = workFolder('mutation');
    try {
      const how = await noticed(mutation, work);
      process.stdout.write(
        `${how ? '✔' : '✖'} ${mutation.mistake}\n    ${mutation.claim}: ${how ?? 'noticed nothing'}\n`,
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
