import { join, resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { bootstrappedNames } from '../base/bases.ts';
import { FALLBACK_BASE } from '../base/choose.ts';
import { type Part, runBakeBench } from '../bench/bake.ts';
import { runGateBench } from '../bench/gate.ts';
import { imageSize } from '../bench/image-size.ts';
import type { GateBench } from '../bench/pace.ts';
import type { BakeBench } from '../bench/result.ts';
import { renderSize } from '../bench/size.ts';
import { EXIT } from '../process/errors.ts';
import { Progress } from '../process/progress.ts';

export function benchCommand(root: string): Command {
  const command = new Command('bench').description(
    'measure: how long a bake takes, how large an image is, what the gate costs',
  );
  command
    .command('bake')
    .description('time our bake, cold and after an edit, and a plain Packer template on the same base')
    .addOption(new Option('--base <name>', 'a bootstrapped base').choices(bootstrappedNames()).default(FALLBACK_BASE))
    .addOption(new Option('--only <part>', 'run one of the two').choices(['ours', 'plain']))
    .option('--json', 'the result, and only it, on standard output', false)
    .action(async (options: { base: string; only?: Part; json: boolean }) => {
      const progress = new Progress();
      const parts: Part[] = options.only ? [options.only] : ['ours', 'plain'];
      const result = await runBakeBench(root, options.base, parts, progress);
      reportBake(result, options.json);
    });
  command
    .command('size')
    .description('the disk of an image, raw and compressed, and what it is made of')
    .option('--image <folder>', 'the image', join('dist', 'latest'))
    .option('--json', 'the result, and only it, on standard output', false)
    .action(async (options: { image: string; json: boolean }) => {
      const size = await imageSize(root, resolve(root, options.image), new Progress());
      print(options.json ? JSON.stringify(size) : renderSize(size));
    });
  command
    .command('gate')
    .description(
      'requests a second and latency of the gate, beside a bare HAProxy with TLS, in a container of an image',
    )
    .option('--image <folder>', 'the image', join('dist', 'latest'))
    .option('--rounds <n>', 'measurements of each; the medians count', count, 5)
    .option('--seconds <n>', 'that each takes', count, 8)
    .option('--json', 'the result, and only it, on standard output', false)
    .action(async (options: { image: string; rounds: number; seconds: number; json: boolean }) => {
      const result = await runGateBench(resolve(root, options.image), options, new Progress());
      print(options.json ? JSON.stringify(result) : renderGate(result));
    });
  command
    .command('edge')
    .description(
      "what the auth proxy adds to a request's time, in Cloudflare's runtime, beside a Worker that only passes on",
    )
    .option('--rounds <n>', 'measurements of each; the medians count', count, 5)
    .option('--seconds <n>', 'that each takes', count, 8)
    .option('--json', 'the result, and only it, on standard output', false)
    .action(async (options: { rounds: number; seconds: number; json: boolean }) => {
      // Stands on the tests' fakes, which no other command needs.
      const { runEdgeBench } = await import('../../test/bench/edge.ts');
      const result = await runEdgeBench(options, new Progress());
      const { proxy, bare, ratio, added_ms } = result;
      const text = [
        `proxy  ${proxy.mean_ms} ms a request, p99 ${proxy.p99_ms} ms`,
        `bare   ${bare.mean_ms} ms a request, p99 ${bare.p99_ms} ms`,
        `ratio ${ratio}, ${added_ms} ms more`,
      ];
      print(options.json ? JSON.stringify(result) : text.join('\n'));
    });
  return command;
}

/** Prints whatever was measured; a script sees by the exit code that a half of it is missing. */
export function reportBake(result: BakeBench, json: boolean): void {
  print(json ? JSON.stringify(result) : renderBake(result));
  if (result.plainFailed) process.exitCode = EXIT.failed;
}

function renderBake({ ours, plain, ratio, plainFailed }: BakeBench): string {
  return [
    ...(ours ? [`ours, cold        ${ours.cold} s`, `ours, after edit  ${ours.edit} s`] : []),
    ...(plain === null ? [] : [`plain             ${plain} s`]),
    ...(plainFailed ? [`plain             failed: ${plainFailed}`] : []),
    ...(ratio === null ? [] : [`plain / ours      ${ratio}`]),
  ].join('\n');
}

function renderGate({ gate, bare, ratio }: GateBench): string {
  const line = (name: string, { rps, p99_ms }: GateBench['gate']) => `${name}  ${rps} requests/s, p99 ${p99_ms} ms`;
  return [line('gate', gate), line('bare', bare), `ratio ${ratio}`].join('\n');
}

/** @throws InvalidArgumentError unless it is a whole number from 1 to 600. */
function count(text: string): number {
  const value = /^[1-9]\d{0,2}$/.test(text) ? Number(text) : 0;
  if (value < 1 || value > 600) throw new InvalidArgumentError('must be a whole number from 1 to 600');
  return value;
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
