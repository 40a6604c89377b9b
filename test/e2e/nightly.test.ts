import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { NightRecord } from '../../src/nightly/night.ts';
import { cacheRoot } from '../../src/plan/cache.ts';
import { provenCopy, reportOf, writeReportAt } from '../fakes/proof.ts';
import { IMAGE_DIR, imageUnderTest, ROOT } from '../image.ts';

// Nights on the cloud that everybody has: this computer. The image is the one under test, in a copy of the project beside a green report,
// because bake and proof take hours where they have something to do; all else is real.

let home: string;
let env: NodeJS.ProcessEnv;
const { id, base } = imageUnderTest();
const project = () => join(home, 'project');
test.before(() => {
  mkdirSync(cacheRoot(), { recursive: true });
  home = mkdtempSync(join(cacheRoot(), 'nightly-'));
  mkdirSync(project());
  for (const name of [
    'build.ts',
    'layers',
    'package.json',
    'packer',
    'rootfs',
    'src',
    '.npmrc',
    'test',
    'tsconfig.json',
  ])
    cpSync(join(ROOT, name), join(project(), name), { recursive: true });
  symlinkSync(realpathSync(join(ROOT, 'node_modules')), join(project(), 'node_modules'));
  provenCopy(realpathSync(IMAGE_DIR), join(project(), 'dist', id));
  const xdg = {
    XDG_STATE_HOME: join(home, 's'),
    XDG_CONFIG_HOME: join(home, 'c'),
    XDG_CACHE_HOME: join(cacheRoot(), '..'),
  };
  // Docker's images are those of the other tests.
  const path = process.env.PATH as string;
  env = { ...process.env, ...xdg, PATH: path, CLAWDY_STORE: join(home, 'store'), CLAWDY_BASE: base.id };
  settings({});
});
test.after.always(() => rmSync(home, { recursive: true, force: true }));

function settings(change: object) {
  const all = { version: 1, bases: [base.id], clouds: [{ name: 'local' }], scope: 'full', keep: 50, ...change };
  writeFileSync(join(project(), 'nightly.yaml'), JSON.stringify(all));
}

function start(more: NodeJS.ProcessEnv = {}): {
  child: ChildProcess;
  ended: Promise<{ code: number | null; stdout: string; stderr: string }>;
} {
  const child = spawn('node', ['build.ts', 'nightly', '--json'], {
    ...{ cwd: project(), env: { ...env, ...more }, stdio: ['ignore', 'pipe', 'pipe'], detached: true },
  });
  let [stdout, stderr] = ['', ''];
  child.stdout?.on('data', (text) => (stdout += text));
  child.stderr?.on('data', (text) => (stderr += text));
  return { child, ended: once(child, 'close').then(([code]) => ({ code: code as number | null, stdout, stderr })) };
}

const night = async (more: NodeJS.ProcessEnv = {}) => {
  const { code, stdout, stderr } = await start(more).ended;
  return { code, stderr, record: JSON.parse(stdout) as NightRecord };
};
const nights = () => readdirSync(join(project(), 'nights')).filter((name) => /^\d{8}T/.test(name));
const latest = () => {
  const file = join(home, 'store', 'channels', base.id, 'latest');
  return existsSync(file) ? basename(realpathSync(file)) : undefined;
};

test.serial('a night that can’t be green promotes nothing, and says why', async (t) => {
  // The vendor's list, signed by nobody.
  const mirror = join(home, 'mirror');
  mkdirSync(mirror);
  writeFileSync(join(mirror, 'SHA256SUMS'), `${'0'.repeat(64)} *ubuntu-24.04-server-cloudimg-amd64.img\n`);
  writeFileSync(join(mirror, 'SHA256SUMS.gpg'), 'no signature');
  settings({ bases: ['ubuntu-24.04'] });
  const unsigned = await night({ CLAWDY_BASE_MIRROR: mirror });
  t.is(unsigned.code, 1, unsigned.stderr);
  t.regex(unsigned.record.said as string, /^ubuntu-24\.04: ubuntu-24\.04 bake: base: .*SHA256SUMS isn't signed by/);

  settings({ clouds: [{ name: 'local', regions: ['nowhere'] }] });
  const lost = await night();
  t.is(lost.code, 1);
  t.regex(lost.record.said as string, /local publish: .*the local cloud has no region nowhere/);

  // A claim that doesn't hold: the proof is tried, and what it leaves is red.
  const dir = join(project(), 'dist', id);
  const totals = { declared: 1, executed: 1, passed: 0, failed: 1, skipped: 0 };
  for (const name of ['report.json', 'full/report.json'] as const) {
    rmSync(join(dir, 'verify', name));
    writeReportAt(dir, name, JSON.stringify(reportOf(dir, 'full', { totals })));
  }
  // One second is no time for a proof.
  settings({ limits: { proof: '1s' } });
  const red = await night();
  t.is(red.code, 1);
  t.regex(red.record.said as string, /proof: .*ran out of time; what was latest stays the latest$/);
  for (const name of ['report.json', 'full/report.json'] as const)
    writeReportAt(dir, name, JSON.stringify(reportOf(dir, 'full')));
  t.is(latest(), undefined);
});

test.serial(
  'a night that is killed while it publishes is finished by the next run, and says what serves now',
  async (t) => {
    settings({});
    const { child, ended } = start();
    const log = () => {
      const file = join(project(), 'nights', nights().at(-1) as string, 'logs', `${base.id}-local-publish.log`);
      return existsSync(file) ? readFileSync(file, 'utf8') : '';
    };
    const before = nights().length;
    while (nights().length === before && child.exitCode === null) await sleep(200);
    while (!/boot it and check/.test(log()) && child.exitCode === null) await sleep(200);
    // The night and all that it started, as when power goes.
    process.kill(-(child.pid as number), 'SIGKILL');
    await ended;
    t.is(latest(), undefined);

    const finished = await night();
    t.is(finished.code, 0, finished.stderr);
    t.regex(finished.stderr, /was cut short: it goes on/);
    t.is(finished.record.verdict, 'promoted');
    t.is(nights().length, before + 1);
    t.is(latest(), id);
    const changes = finished.record.stages.find(({ stage }) => stage === 'changes')?.result as {
      figures: { bootSeconds: number };
    };
    t.true(changes.figures.bootSeconds > 5);
    t.regex(readFileSync(join(project(), 'nights', 'index.html'), 'utf8'), /<svg /);
  },
);

test.serial('the night after finds nothing new, in seconds', async (t) => {
  const startedAt = performance.now();
  const again = await night();
  t.is(again.code, 0, again.stderr);
  t.is(again.record.verdict, 'nothing-new');
  t.is(again.record.said, `${base.id}: nothing new since ${id}`);
  const seconds = (performance.now() - startedAt) / 1000;
  t.log(`${seconds.toFixed(1)} s`);
  t.true(seconds < 120, `${seconds}`);
  t.is(latest(), id);
});
