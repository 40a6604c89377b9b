import { mkdirSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { Command, Option } from 'commander';
import { bake } from '../bake/bake.ts';
import { type Given, readGiven } from '../bake/given.ts';
import { type BakeInputs, planBake, resolveInputs } from '../bake/inputs.ts';
import { imageTree, treeWithout } from '../bake/tree.ts';
import { baseNames, loadBase } from '../base/bases.ts';
import { type ChosenBase, chooseBase, DEFAULT_BASE, FALLBACK_BASE, fallbackWarning } from '../base/choose.ts';
import type { BaseMirror } from '../base/vendor.ts';
import { readImage } from '../manifest/image.ts';
import { findLayer, loadLayers } from '../manifest/layers.ts';
import { renderPlan } from '../plan/plan.ts';
import { inputError } from '../process/errors.ts';
import { Progress } from '../process/progress.ts';

interface Options {
  base?: string;
  fallback: boolean;
  baseMirror?: string;
  baseKey?: string;
  cloudflared?: string;
  cloudflaredSha256?: string;
  without?: string;
  tree: boolean;
  force: boolean;
  plan: boolean;
  json: boolean;
}

export function bakeCommand(root: string): Command {
  return new Command('bake')
    .description('bake a golden image from a base and the layers')
    .addOption(
      new Option(
        '--base <name>',
        `one of ${baseNames().join(', ')}, or a definition's file; default: ${DEFAULT_BASE}, else ${FALLBACK_BASE}`,
      ).env('CLAWDY_BASE'),
    )
    .option('--no-fallback', `fail where ${DEFAULT_BASE} can't be reached; in CI it always does`)
    .addOption(
      new Option('--base-mirror <place>', "URL or folder with a vendor's image, SHA256SUMS and SHA256SUMS.gpg").env(
        'CLAWDY_BASE_MIRROR',
      ),
    )
    .addOption(
      new Option('--base-key <file>', "keyring to trust instead of the vendor's; only with --base-mirror").env(
        'CLAWDY_BASE_KEY',
      ),
    )
    .option('--cloudflared <file>', "Cloudflare's connector for x86-64, for mode tunnel; without it the image has none")
    .option('--cloudflared-sha256 <hex>', 'its digest, as published beside its release; a file with another is refused')
    .option('--without <layer>', 'leave a layer out, to see what it is for; only with --tree')
    .option('--tree', 'only the tree that containers show, of the newest image; never publishable', false)
    .option('--force', 'bake even when an image with these inputs is there', false)
    .option('--plan', 'show the steps and stop', false)
    .option('--json', 'the result, and only it, on standard output', false)
    .action((options: Options, command: Command) =>
      options.tree || options.without
        ? runTree(root, options, new Progress())
        : runBake(root, options, mirrorOf(options, command), new Progress()),
    );
}

/** The place that counts: what the environment says about vendors' images says nothing about other bases. */
function mirrorOf(options: Options, command: Command): BaseMirror {
  const vendor = loadBase(options.base || DEFAULT_BASE).kind === 'vendor';
  const counts = (name: 'baseMirror' | 'baseKey') =>
    (vendor || command.getOptionValueSource(name) === 'cli') && options[name] ? options[name] : undefined;
  return { from: counts('baseMirror'), key: counts('baseKey') };
}

/** Before anything else: it may be the wrong file. */
function givenBy({ cloudflared: file, cloudflaredSha256: sha256 }: Options, root: string): Given[] {
  if (!file && !sha256) return [];
  if (!file || !sha256) {
    const missing = file ? '--cloudflared-sha256' : '--cloudflared';
    throw inputError('bake', `${missing} is missing`, 'the file and its digest go together');
  }
  return [readGiven(loadLayers(root), 'cloudflared', file, sha256)];
}

async function runBake(root: string, options: Options, mirror: BaseMirror, progress: Progress): Promise<void> {
  const given = givenBy(options, root);
  const chosen = await choose(options, mirror, progress);
  const inputs = await resolve(root, chosen, given, progress);
  const plan = planBake(inputs, options.force);
  if (options.plan) {
    print(options.json ? JSON.stringify(plan) : renderPlan(plan));
    return;
  }
  const result = await bake(inputs, plan, progress);
  if (options.json) print(JSON.stringify(result));
  else if (result.cached)
    progress.say(`nothing to do: ${relative(root, result.path)} has these inputs (--force bakes anew)`);
  else progress.say(`baked ${relative(root, result.path)} in ${result.seconds.toFixed(0)} s; make test proves it`);
  // Once more where the eye ends up.
  if (result.fallback)
    progress.say(`!! it is ${result.base}: ${result.fallback.requested} couldn't be reached (see above)`);
}

/** Prints the archive's path. */
async function runTree(root: string, options: Options, progress: Progress): Promise<void> {
  const { tree, without, plan } = options;
  if (options.cloudflared || options.cloudflaredSha256)
    throw inputError('bake', 'a tree has what its image has', 'leave --cloudflared out, or bake with it');
  if (!tree)
    throw inputError('bake', 'an image without a layer is never baked', 'add --tree: only the tree, for tests');
  const dir = join(root, 'dist', 'latest');
  const image = readImage(dir);
  const layer = without ? findLayer(loadLayers(root), without).name : undefined;
  progress.say(`the tree of ${image.id}${layer ? `, with today's layers but ${layer}` : ''}`);
  if (plan) return;
  const log = join(dir, 'logs', 'tree.log');
  const tar = await progress.step('tree', async () =>
    layer ? (await treeWithout(root, image, layer, log)).tar : imageTree(image, join(dir, 'payload.tar'), log),
  );
  print(tar);
}

async function choose(options: Options, mirror: BaseMirror, progress: Progress): Promise<ChosenBase> {
  const chosen = await chooseBase({
    name: options.base || undefined,
    mayFallBack: options.fallback,
    mirror,
    progress,
  });
  if (chosen.fallback) progress.say(fallbackWarning(chosen.fallback));
  return chosen;
}

async function resolve(root: string, chosen: ChosenBase, given: Given[], progress: Progress): Promise<BakeInputs> {
  const log = join(root, 'dist', 'resolve.log');
  mkdirSync(join(root, 'dist'), { recursive: true });
  rmSync(log, { force: true });
  return progress.step('resolve packages', () => resolveInputs(root, chosen, log, given));
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
