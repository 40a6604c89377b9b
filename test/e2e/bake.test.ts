import { appendFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { execa } from 'execa';
import type { BakeResult } from '../../src/bake/bake.ts';
import { readImage } from '../../src/manifest/image.ts';
import { ROOT } from '../image.ts';

/** A fresh clone with a cache of its own: what a new user has. */
const clone = mkdtempSync(join(tmpdir(), 'clawdy-clone-'));
const env = { XDG_CACHE_HOME: join(clone, '.cache'), CI: '1', CLAWDY_BASE: 'debian-13' };

test.before(async () => {
  await execa('git', ['clone', '--quiet', ROOT, join(clone, 'project')]);
  symlinkSync(join(ROOT, 'node_modules'), join(clone, 'project', 'node_modules'));
});

test.after.always(() => rmSync(clone, { recursive: true, force: true }));

const project = join(clone, 'project');
const bake = (...flags: string[]) =>
  execa('node', ['build.ts', 'bake', ...flags], { cwd: project, env, stderr: 'inherit' });

async function bakeJson(...flags: string[]): Promise<BakeResult> {
  return JSON.parse((await bake('--json', ...flags)).stdout) as BakeResult;
}

test.serial('a plan lists the steps and does nothing', async (t) => {
  const plan = JSON.parse((await bake('--plan', '--json')).stdout) as { steps: { name: string; state: string }[] };
  t.deepEqual(
    plan.steps.map(({ name, state }) => `${name} ${state}`),
    ['base run', 'runtime run', 'prepare run', 'packer run', 'seal run'],
  );
  t.deepEqual(readdirSync(join(project, 'dist')), ['resolve.log']);
});

test.serial('a cold bake and a cached one hold the same packages and the same files', async (t) => {
  const cold = await bakeJson();
  t.false(cold.cached);
  t.deepEqual(
    cold.steps.map(({ name }) => name.split(' ')[0]),
    ['resolve', 'runtime', 'base', 'prepare', 'packer', 'seal'],
  );
  const again = await bakeJson();
  t.true(again.cached);
  t.is(again.id, cold.id);
  const forced = await bakeJson('--force');
  t.not(forced.id, cold.id);
  t.deepEqual(
    forced.steps.map(({ name }) => name.split(' ')[0]),
    ['resolve', 'packer', 'seal'],
  );
  t.deepEqual(readImage(forced.path).packages, readImage(cold.path).packages);
  const files = (dir: string) => readFileSync(join(dir, 'files.tsv'), 'utf8').trimEnd().split('\n');
  const [first, second] = [files(cold.path), files(forced.path)];
  const differing = first
    .filter((line) => !second.includes(line))
    .concat(second.filter((line) => !first.includes(line)));
  t.deepEqual(differing, []);
});

test.serial('a bake that is killed leaves no half image and no stray QEMU, and the next one works', async (t) => {
  const images = () => readdirSync(join(project, 'dist')).filter((name) => name.startsWith('debian-13-'));
  const before = images();
  const running = execa('node', ['build.ts', 'bake', '--force'], {
    cwd: project,
    env,
    reject: false,
    stderr: 'pipe',
    buffer: false,
  });
  await new Promise<void>((resolve) => {
    running.stderr?.on('data', (said) => /packer .*: .*\S/.test(String(said)) && resolve());
  });
  const qemus = async () =>
    (await execa('pgrep', ['-f', `qemu-system.*${project}`], { reject: false })).stdout.split('\n').filter(Boolean);
  t.true((await qemus()).length > 0, 'the control: QEMU did run');
  running.kill('SIGKILL');
  await running;
  await sleep(3000);
  t.deepEqual(await qemus(), []);
  t.deepEqual(images(), before);
  // The dead bake's lock goes stale after a minute.
  await sleep(65_000);
  const next = await bakeJson('--force');
  t.is(images().length, before.length + 1);
  t.truthy(readImage(next.path));
});

test.serial('a failed provisioner shows its own last lines, and its disk is kept for make shell', async (t) => {
  appendFileSync(join(project, 'layers/08-dedicated-user/apply.sh'), '\necho "why it failed" >&2\nexit 7\n');
  const result = await execa('node', ['build.ts', 'bake'], { cwd: project, env, reject: false });
  t.is(result.exitCode, 1);
  t.regex(result.stderr, /✖ packer: [\s\S]*│ why it failed\n/);
  t.regex(result.stderr, /log: .*\.failed\/.*\/logs\/packer\.log/);
  const failed = join(project, 'dist', '.failed');
  const id = readdirSync(failed).sort().at(-1) as string;
  t.true(existsSync(join(failed, id, 'packer/out/disk.qcow2')));
  t.true(readFileSync(join(failed, id, 'logs/packer.log'), 'utf8').includes('why it failed'));
  const shell = await execa('node', ['build.ts', 'shell', '--plan'], { cwd: project, env });
  t.true(shell.stderr.includes(id));
});
