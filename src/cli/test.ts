import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { Argument, Command } from 'commander';
import { parse } from 'yaml';
import { cacheRoot } from '../plan/cache.ts';
import { EXIT, inputError, renderError } from '../process/errors.ts';
import { Progress } from '../process/progress.ts';
import { start } from '../process/run.ts';
import { type Choice, prepareProof, runProof } from '../verify/proof.ts';
import { isGreen } from '../verify/report/schema.ts';
import { renderClaim } from '../verify/report/text.ts';
import { lint } from './lint.ts';

const SUITES = ['unit', 'edge', 'container', 'cloud', 'vm', 'claims'] as const;
/** Bakes again from nothing: only with `--full`. */
const FULL = ['e2e'] as const;

/**
 * Files at a time, on two cores. A container's boot leaves one of them idle half of the time, as the claims' two lanes do; each
 * file has a network of its own. Machines take both cores, and measure time.
 */
const AT_ONCE: Record<string, number> = { container: 2, cloud: 2, edge: 2 };

/** Minutes without a result after which a suite is given up, and says what it was at; a full run has longer tests, as machines have. */
const SILENT: Record<string, number> = { unit: 5, edge: 5, container: 15, cloud: 5 };

/** A browser ends its connections when somebody adds a network to the machine, as each file of containers does. */
const ALONE = ['test/container/edge.test.ts'];

interface Tally {
  passed: number;
  failed: number;
  skipped: number;
  failures: Failure[];
}

interface Failure {
  name: string;
  /** What was printed about it, line by line. */
  why: string[];
}

/** Lines about a failure that are shown once more at the end: its first ones say what, its last ones where it stood. */
const FIRST = 8;
const LAST = 12;

const nothing = (): Tally => ({ passed: 0, failed: 0, skipped: 0, failures: [] });

export function testCommand(root: string): Command {
  return new Command('test')
    .description('lint, then prove the newest image: unit, edge, container, cloud and VM tests, and every claim')
    .addArgument(
      new Argument(
        '[suites...]',
        `some of ${[...SUITES, ...FULL].join(', ')}; default: lint and all but the last`,
      ).choices([...SUITES, ...FULL]),
    )
    .option('--full', 'also bake from nothing, and run every claim everywhere', false)
    .option('--claim <id>', 'only this claim', process.env.CLAIM)
    .option('--keep', 'keep the box of that claim until Ctrl-C; `make shell` enters it', false)
    .action(async (chosen: string[], options: { claim?: string; full: boolean; keep: boolean }) => {
      const scope = options.full ? 'full' : 'ci';
      const all = options.claim ? (['claims'] as const) : [...SUITES, ...(options.full ? FULL : [])];
      const suites = chosen.length ? chosen : all;
      const choice: Choice = { scope, keep: options.keep, ...(options.claim ? { claim: options.claim } : {}) };
      if (options.claim && !suites.includes('claims'))
        throw inputError('test', `--claim with ${suites.join(' and ')} tests alone`, 'leave the suites out');
      const image = join(root, 'dist', process.env.CLAWDY_IMAGE ?? 'latest');
      // A user's mistake is said before anything runs.
      if (suites.includes('claims')) prepareProof(root, image, choice);
      const progress = new Progress();
      const total = nothing();
      if (!chosen.length && !options.claim) {
        await lint(root, false, progress);
        total.passed++;
      }
      for (const suite of suites) {
        const timed = await withBudget(root, suite, progress, () =>
          suite === 'claims' ? runClaims(root, image, choice, progress) : runSuite(root, suite, options.full, progress),
        );
        add(total, timed);
      }
      // A log of thousands of lines is read from its end.
      for (const failure of total.failures) process.stdout.write(`${renderFailure(failure)}\n`);
      if (total.skipped) process.stdout.write(`${total.skipped} excused, each with a reason and an end date\n`);
      // The plain closing line that a CI can read, in any language.
      process.stdout.write(`${total.passed} passed, ${total.failed} failed\n`);
      if (total.failed || !total.passed) process.exitCode = EXIT.failed;
    });
}

function add(total: Tally, part: Tally): void {
  total.passed += part.passed;
  total.failed += part.failed;
  total.skipped += part.skipped;
  total.failures.push(...part.failures);
}

function renderFailure({ name, why }: Failure): string {
  const shown =
    why.length > FIRST + LAST
      ? [...why.slice(0, FIRST), `  … ${why.length - FIRST - LAST} lines, above`, ...why.slice(-LAST)]
      : why;
  return [`✖ ${name}`, ...shown.map((line) => line.slice(0, 300))].join('\n');
}

/** Says what a suite took beside what it may take. */
async function withBudget(root: string, suite: string, progress: Progress, run: () => Promise<Tally>): Promise<Tally> {
  const startedAt = performance.now();
  progress.say(`▸ ${suite === 'claims' ? suite : `${suite} tests`}`);
  const tally = await run();
  const seconds = (performance.now() - startedAt) / 1000;
  const budget = (parse(readFileSync(join(root, 'test', 'budget.yaml'), 'utf8')) as Record<string, number>)[suite] ?? 0;
  const over = seconds > budget ? ' — OVER BUDGET' : '';
  progress.say(`${tally.failed ? '✖' : '✔'} ${suite}  ${seconds.toFixed(0)} s of ${budget} s${over}`);
  return tally;
}

/** The claims, whose report lies beside the image afterwards. */
async function runClaims(root: string, image: string, choice: Choice, progress: Progress): Promise<Tally> {
  try {
    const report = await runProof(root, prepareProof(root, image, choice), progress);
    const { passed, failed, skipped } = report.totals;
    const failures = report.layers.flatMap(({ id: layer, claims }) =>
      claims
        .filter(({ ok }) => !ok)
        .map((claim) => ({
          name: `claim ${claim.id} (${claim.target})`,
          why: renderClaim(layer, claim).split('\n').slice(1),
        })),
    );
    if (failed > 0 || isGreen(report)) return { passed, failed, skipped, failures };
    return {
      passed,
      failed: 1,
      skipped,
      failures: [{ name: 'claims: not all that are declared were executed', why: [] }],
    };
  } catch (error) {
    // What the other suites said still ends in a closing line.
    const why = renderError(error);
    progress.say(why);
    return {
      passed: 0,
      failed: 1,
      skipped: 0,
      failures: [{ name: 'claims: could not be tried', why: why.split('\n') }],
    };
  }
}

async function runSuite(root: string, suite: string, full: boolean, progress: Progress): Promise<Tally> {
  const dir = join(root, 'test', suite);
  const files = readdirSync(dir)
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => join('test', suite, name));
  const [alone, together] = [
    files.filter((file) => ALONE.includes(file)),
    files.filter((file) => !ALONE.includes(file)),
  ];
  const tally = nothing();
  for (const some of [together, alone]) if (some.length) await runFiles(root, suite, some, full, progress, tally);
  return tally;
}

async function runFiles(
  root: string,
  suite: string,
  files: string[],
  full: boolean,
  progress: Progress,
  tally: Tally,
): Promise<void> {
  // Within a file one test after the other, which the files themselves say. With --serial ava takes one file at a time.
  const atOnce = AT_ONCE[suite];
  const flags = suite === 'unit' ? [] : atOnce ? [`--concurrency=${atOnce}`] : ['--concurrency=1', '--serial'];
  const limit = full ? undefined : SILENT[suite];
  if (limit) flags.push(`--timeout=${limit}m`);
  const child = start('ava', ['--tap', ...flags, ...files], {
    cwd: root,
    // Each file is a process of its own: what one has compiled the next needn't.
    env: { CLAWDY_FULL: full ? '1' : '', NODE_COMPILE_CACHE: join(cacheRoot(), 'compiled') },
    stdin: 'ignore',
    stderr: 'inherit',
    buffer: false,
  });
  let last: Failure | undefined;
  for await (const line of createInterface({ input: child.stdout as Readable }))
    last = show(line, tally, progress, last);
  const { exitCode } = await child;
  // A crash before the first test prints no `not ok`; it must not look like an empty suite.
  if (exitCode !== 0 && !tally.failed) {
    tally.failed++;
    tally.failures.push({ name: `${suite}: ava ended with ${exitCode}`, why: [] });
  }
}

/** One line of TAP version 13. What stands below a result is about it: `last` if that failed. Returns the failure to go on with. */
function show(line: string, tally: Tally, progress: Progress, last: Failure | undefined): Failure | undefined {
  const result = /^(not )?ok \d+ - (.*?)( # (?:SKIP|TODO).*)?$/.exec(line);
  if (!result) {
    if (line.startsWith(' ') || /^# (?!tests|pass|fail|skip|.* hook$)/.test(line)) {
      progress.say(`    ${line}`);
      last?.why.push(`  ${line}`);
    }
    return last;
  }
  const [, failed, title = '', skip] = result;
  progress.say(`  ${skip ? '-' : failed ? '✖' : '✔'} ${title}`);
  if (failed && !skip) {
    const failure = { name: title, why: [] };
    tally.failed++;
    tally.failures.push(failure);
    return failure;
  }
  if (skip) tally.skipped++;
  else tally.passed++;
  return undefined;
}
