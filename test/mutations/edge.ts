/**
 * Makes the mistakes of edge.yaml, one at a time, in a copy of the project, and looks whether the test named there fails, after
 * it has passed without the mistake.
 *
 *   node test/mutations/edge.ts [words of a mistake]
 *
 * By hand, after a change to the auth proxy or its tests: some five minutes.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { readYaml } from '../../src/manifest/yaml-file.ts';
import { run } from '../../src/process/run.ts';

const ROOT = join(import.meta.dirname, '../..');
const EDGE = 'layers/06-cloudflare/edge';

const mutations = z.array(
  z.strictObject({
    ...{ mistake: z.string(), file: z.string(), from: z.string(), to: z.string(), in: z.string(), test: z.string() },
    /** What else stands in its way, so that no test can notice. */
    alsoStoppedBy: z.string().optional(),
  }),
);
type Mutation = z.output<typeof mutations>[number];

const copy = mkdtempSync(join(tmpdir(), 'clawdy-edge-mutations-'));
for (const name of ['layers', 'src', 'test', 'package.json'])
  cpSync(join(ROOT, name), join(copy, name), { recursive: true });
symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));

/** @returns whether the test passes, having run. */
async function passes({ in: file, test }: Mutation): Promise<boolean> {
  const match = test === '*' ? [] : [`--match=*${test.replaceAll('*', '\\*')}`];
  const args = ['--tap', '--serial', '--timeout=60s', ...match, `test/${file}.test.ts`];
  const ava = join(ROOT, 'node_modules/.bin/ava');
  const { stdout, exitCode } = await run(ava, args, { step: 'mutation', cwd: copy, ok: [0, 1], timeout: 120_000 });
  if (!/^(not )?ok 1 /m.test(stdout)) throw new Error(`no test of test/${file}.test.ts is called ${test}:\n${stdout}`);
  return exitCode === 0;
}

async function noticed(mutation: Mutation): Promise<boolean> {
  const file = join(copy, EDGE, mutation.file);
  const sound = readFileSync(file, 'utf8');
  if (!sound.includes(mutation.from)) throw new Error(`${mutation.file} doesn't say ${mutation.from}`);
  writeFileSync(
    file,
    sound.replaceAll(mutation.from, () => mutation.to),
  );
  try {
    return !(await passes(mutation));
  } finally {
    writeFileSync(file, sound);
  }
}

const all = readYaml(join(import.meta.dirname, 'edge.yaml'), mutations, 'mutations');
const words = process.argv.slice(2).join(' ');
const passed = new Set<string>();
let missed = 0;
try {
  for (const mutation of all.filter(({ mistake }) => mistake.includes(words))) {
    const name = `${mutation.in} ${mutation.test}`;
    if (!passed.has(name) && !(await passes(mutation))) throw new Error(`fails without any mistake: ${name}`);
    passed.add(name);
    const wanted = mutation.alsoStoppedBy === undefined;
    const seen = await noticed(mutation);
    if (seen !== wanted) missed++;
    process.stdout.write(
      `${seen === wanted ? '✔' : '✖'} ${mutation.mistake}${wanted ? '' : ` (${mutation.alsoStoppedBy})`}\n`,
    );
  }
} finally {
  rmSync(copy, { recursive: true, force: true });
}
process.exitCode = missed ? 1 : 0;
