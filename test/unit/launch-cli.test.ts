import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { ROOT } from '../image.ts';

// What a launch that fails leaves behind: nothing. A program stands in for QEMU; test/vm/launch.test.ts has a real one.

const work = mkdtempSync(join(tmpdir(), 'clawdy-cli-'));
const image = join(work, 'image');
test.before(() => {
  mkdirSync(join(work, 'bin'));
  copyFileSync(join(import.meta.dirname, 'fake-qemu'), join(work, 'bin', 'qemu-system-x86_64'));
  chmodSync(join(work, 'bin', 'qemu-system-x86_64'), 0o755);
  mkdirSync(image);
  spawnSync('qemu-img', ['create', '-q', '-f', 'qcow2', join(image, 'disk.qcow2'), '1M']);
  const sha256 = '0'.repeat(64);
  const manifest = {
    schema: 1,
    id: 'debian-13-20261122T155250Z-c7d31ac0',
    created: '2026-11-22T15:52:50.000Z',
    inputHash: sha256,
    base: { id: 'debian-13', sha256 },
    disk: { rawSha256: sha256, rawSize: 1, qcow2Size: 1 },
    layers: [],
    without: [],
    packages: [],
    runtime: { openclaw: '1', node: '1' },
    accelerator: 'tcg',
    prepared: sha256,
    steps: [],
    seconds: 1,
  };
  writeFileSync(join(image, 'manifest.json'), JSON.stringify(manifest));
});
test.after.always(() => rmSync(work, { recursive: true, force: true }));

interface Launch {
  child: ChildProcess;
  ended: Promise<{ code: number | null; stdout: string; stderr: string }>;
  /** Where its instances are. */
  dir: string;
  /** What QEMU was started with, once it was. */
  qemu: () => Promise<{ pid: number; arguments: string[]; environment: Record<string, string> }>;
}

/** Runs `build.ts launch` with state, configuration and home of its own. */
function launch(words: string[], says: { console?: string; end?: string } = {}): Launch {
  const home = mkdtempSync(join(work, 'home-'));
  const argv = join(home, 'argv.json');
  const child = spawn(process.execPath, [join(ROOT, 'build.ts'), 'launch', ...words], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: `${join(work, 'bin')}:${process.env.PATH}`,
      HOME: home,
      XDG_STATE_HOME: join(home, 'state'),
      XDG_CONFIG_HOME: join(home, 'config'),
      CLAWDY_ACCEL: 'tcg',
      FAKE_ARGV: argv,
      FAKE_CONSOLE: says.console ?? 'booting',
      FAKE_END: says.end ?? '',
    },
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (data) => (stdout += data));
  child.stderr.on('data', (data) => (stderr += data));
  return {
    child,
    ended: once(child, 'close').then(([code]) => ({ code, stdout, stderr })),
    dir: join(home, 'state', 'clawdy', 'instances'),
    qemu: async () => {
      while (!existsSync(argv) || !readFileSync(argv, 'utf8').endsWith('}')) await sleep(50);
      return JSON.parse(readFileSync(argv, 'utf8'));
    },
  };
}

const runs = (pid: number) => existsSync(`/proc/${pid}/cmdline`) && readFileSync(`/proc/${pid}/cmdline`).length > 0;

async function gone(dir: string, pid: number): Promise<boolean> {
  for (let tries = 0; tries < 100 && (runs(pid) || readdirSync(dir).length); tries++) await sleep(100);
  return !runs(pid) && readdirSync(dir).length === 0;
}

test.serial('a box that stays closed ends the launch at once, with its reason, and leaves nothing', async (t) => {
  const one = launch(['--image', image], {
    console: '[  1.0] config[7]: clawdy: closed: launch.json refused: because',
  });
  const { code, stdout, stderr } = await one.ended;
  t.is(code, 1, stderr);
  t.is(stdout, '');
  t.regex(stderr, /the instance stays closed: launch\.json refused: because/);
  t.true(await gone(one.dir, (await one.qemu()).pid));
});

test.serial('a QEMU that ends leaves nothing, and the error says what to do', async (t) => {
  const one = launch(['--image', image], { end: 'yes' });
  const { code, stderr } = await one.ended;
  t.is(code, 1);
  t.regex(stderr, /QEMU did not start\n.*fake: could not access the accelerator\n.*next: npm run doctor/);
  t.true(await gone(one.dir, (await one.qemu()).pid));
});

for (const [signal, wanted] of [
  ['SIGINT', 130],
  ['SIGTERM', 130],
  ['SIGKILL', null],
] as const) {
  test.serial(`a launch that ends by ${signal} takes its machine and its folder with it`, async (t) => {
    const one = launch(['--image', image]);
    const { pid } = await one.qemu();
    while (!readdirSync(one.dir).length) await sleep(50);
    t.true(runs(pid));
    one.child.kill(signal);
    t.is((await one.ended).code, wanted);
    t.true(await gone(one.dir, pid));
  });
}

test.serial('the token is in the seed alone; --keep leaves it there with the logs, for the owner only', async (t) => {
  const one = launch(['--image', image, '--keep'], { console: 'clawdy: closed: because' });
  const { stdout, stderr } = await one.ended;
  const { pid, arguments: words, environment } = await one.qemu();
  t.false(runs(pid));
  const dir = join(one.dir, readdirSync(one.dir)[0] as string);
  t.regex(stderr, new RegExp(`log: {2}${dir}/console\\.log`));
  const found = spawnSync('sh', ['-c', 'find "$1" "$1/.." "$1/../.." -perm /077', 'sh', dir], { encoding: 'utf8' });
  t.is(found.stdout.replaceAll(/^.*qmp\.sock\n/gm, ''), '');
  const out = join(work, 'user-data');
  spawnSync('xorriso', ['-osirrox', 'on', '-indev', join(dir, 'seed.iso'), '-extract', '/user-data', out]);
  const { token } = JSON.parse(JSON.parse(readFileSync(out, 'utf8').split('\n')[1] as string).write_files[0].content);
  t.regex(token, /^[\w-]{43}$/);
  for (const text of [stdout, stderr, JSON.stringify([words, environment])]) t.false(text.includes(token));
  const holders = spawnSync('grep', ['-rlF', '-e', token, join(one.dir, '..', '..', '..')], { encoding: 'utf8' });
  t.is(holders.stdout, `${join(dir, 'seed.iso')}\n`);
  t.is(spawnSync('rm', ['-r', dir]).status, 0);
});

test.serial('two launches at once have two machines', async (t) => {
  const both = [launch(['--image', image]), launch(['--image', image])];
  const machines = await Promise.all(both.map((one) => one.qemu()));
  const names = machines.map(({ arguments: words }) => words[words.indexOf('-name') + 1]);
  t.is(new Set(names).size, 2);
  for (const one of both) one.child.kill('SIGINT');
  await Promise.all(both.map((one) => one.ended));
});

const usage: [string[], number, RegExp][] = [
  [['--cloud', 'elsewhere'], 2, /Allowed choices are local/],
  [['--image', '/nowhere'], 3, /holds no image/],
  [['--image', image, '--user', 'a b'], 3, /isn't a name that the gate takes/],
  [['--image', image, '--ssh-key', '/nowhere.pub'], 3, /isn't one SSH public key/],
  [['stop', '../x', '--yes'], 3, /isn't an instance's ID/],
  [['stop', 'local-1', '--yes'], 3, /no instance is called local-1/],
  [['header', '/etc/passwd'], 3, /isn't an instance's ID/],
  [['stop'], 2, /missing required argument/],
  [['list', '--unknown'], 2, /unknown option/],
];
for (const [words, code, reason] of usage) {
  test(`launch ${words.map((word) => word.replace(work, '…')).join(' ')} is refused with exit code ${code}`, async (t) => {
    const result = await launch(words).ended;
    t.is(result.code, code, result.stderr);
    t.regex(result.stderr, reason);
    t.is(result.stdout, '');
  });
}

test('--plan says what would happen and makes nothing', async (t) => {
  const one = launch(['--image', image, '--plan', '--json']);
  const { code, stdout } = await one.ended;
  t.is(code, 0);
  t.like(JSON.parse(stdout), { stage: 'launch', cloud: 'local', gate: false });
  t.false(existsSync(join(one.dir, '..', '..')));
});

test('list names the record that can’t be read and prints the others', async (t) => {
  const one = launch(['list']);
  t.regex((await one.ended).stdout, /no instances/);
  const home = mkdtempSync(join(work, 'home-'));
  mkdirSync(join(home, 'clawdy', 'instances'), { recursive: true });
  writeFileSync(join(home, 'clawdy', 'instances', 'local-1.json'), '{');
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, 'build.ts'), 'launch', 'list', '--json'], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, HOME: home, XDG_STATE_HOME: home },
  });
  t.is(status, 3);
  t.is(stdout, '[]\n');
  t.true(stderr.includes(join(home, 'clawdy', 'instances', 'local-1.json')));
});
