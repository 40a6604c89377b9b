import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { Argument, Command } from 'commander';
import { parse } from 'yaml';
import { loadLayers } from '../manifest/layers.ts';
import { EXIT, inputError } from '../process/errors.ts';
import { Progress } from '../process/progress.ts';
import { start } from '../process/run.ts';
import { loadClaims } from '../verify/claims/load.ts';
import { lint } from './lint.ts';

const SUITES = ['unit', 'container', 'vm'] as const;
/** Bakes again from nothing: only with `--full`. */
const FULL = ['e2e'] as const;

interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}

export function testCommand(root: string): Command {
  return new Command('test')
    .description('lint, then prove the newest image: unit, container, VM')
    .addArgument(
      new Argument(
        '[suites...]',
        `some of ${[...SUITES, ...FULL].join(', ')}; default: lint and all but the last`,
      ).choices([...SUITES, ...FULL]),
    )
    .option('--full', 'also bake from nothing, and compare', false)
    .option('--claim <id>', 'only this claim', process.env.CLAIM)
    .action(async (chosen: string[], options: { claim?: string; full: boolean }) => {
      const progress = new Progress();
      const total: Tally = { passed: 0, failed: 0, skipped: 0 };
      if (!chosen.length && !options.claim) {
        await lint(root, false, progress);
        total.passed++;
      }
      const all = [...SUITES, ...(options.full ? FULL : [])];
      const suites = options.claim
        ? placesOf(root, options.claim).filter((place) => !chosen.length || chosen.includes(place))
        : chosen.length
          ? chosen
          : all;
      for (const suite of suites) add(total, await runSuite(root, suite, progress, options.claim));
      // The plain closing line that a CI can read, in any language.
      process.stdout.write(
        `${total.passed} passed, ${total.failed} failed${total.skipped ? `, ${total.skipped} skipped` : ''}\n`,
      );
      if (total.failed || !total.passed) process.exitCode = EXIT.failed;
    });
}

function add(total: Tally, part: Tally): void {
  total.passed += part.passed;
  total.failed += part.failed;
  total.skipped += part.skipped;
}

/** @throws BuildError (input) for a claim that nobody makes. */
function placesOf(root: string, id: string): string[] {
  const claims = loadClaims(root, loadLayers(root));
  const claim = claims.find((one) => one.id === id);
  if (!claim) throw inputError('test', `no claim is called ${id}`, `known: ${claims.map((one) => one.id).join(', ')}`);
  return claim.where;
}

async function runSuite(root: string, suite: string, progress: Progress, claim: string | undefined): Promise<Tally> {
  const dir = join(root, 'test', suite);
  const files = readdirSync(dir)
    .filter(
      (name) => name.endsWith('.test.ts') && (!claim || readFileSync(join(dir, name), 'utf8').includes('testClaims(')),
    )
    .map((name) => join('test', suite, name));
  const tally: Tally = { passed: 0, failed: 0, skipped: 0 };
  const startedAt = performance.now();
  progress.say(`▸ ${suite} tests`);
  // One file at a time but for unit tests: containers and VMs share two cores with what they measure.
  const flags = [
    ...(suite === 'unit' ? [] : ['--concurrency=1', '--serial']),
    ...(claim ? [`--match=* ${claim}`] : []),
  ];
  const child = start('ava', ['--tap', ...flags, ...files], {
    cwd: root,
    stdin: 'ignore',
    stderr: 'inherit',
    buffer: false,
  });
  for await (const line of createInterface({ input: child.stdout as Readable })) show(line, tally, progress);
  const { exitCode } = await child;
  // A crash before the first test prints no `not ok`; it must not look like an empty suite.
  if (exitCode !== 0 && !tally.failed) tally.failed++;
  const seconds = (performance.now() - startedAt) / 1000;
  const budget = (parse(readFileSync(join(root, 'test', 'budget.yaml'), 'utf8')) as Record<string, number>)[suite] ?? 0;
  progress.say(
    `${tally.failed ? '✖' : '✔'} ${suite} tests  ${seconds.toFixed(0)} s of ${budget} s${seconds > budget ? ' — OVER BUDGET' : ''}`,
  );
  return tally;
}

/** One line of TAP version 13. */
function show(line: string, tally: Tally, progress: Progress): void {
  const result = /^(not )?ok \d+ - (.*?)( # (?:SKIP|TODO).*)?$/.exec(line);
  if (!result) {
    if (line.startsWith(' ') || /^# (?!tests|pass|fail|skip)/.test(line)) progress.say(`    ${line}`);
    return;
  }
  const [, failed, title = '', skip] = result;
  if (skip) tally.skipped++;
  else if (failed) tally.failed++;
  else tally.passed++;
  progress.say(`  ${skip ? '-' : failed ? '✖' : '✔'} ${title}`);
}
