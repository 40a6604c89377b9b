import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import test from 'ava';
import { encryptTo } from '../../src/launch/operator.ts';
import { BUNDLE, gone, Launcher, makeImage, RECORD, ROOT, seededLaunch } from './launch-fixture.ts';

// What a launch that fails leaves behind: nothing. A program stands in for QEMU; test/vm/launch.test.ts has a real one.

const work = mkdtempSync(join(tmpdir(), 'clawdy-cli-'));
test.after.always(() => rmSync(work, { recursive: true, force: true }));
const launcher = new Launcher(work);
const launch = launcher.launch.bind(launcher);
const image = makeImage(join(work, 'image'));
const runs = (pid: number) => existsSync(`/proc/${pid}`);

test.serial('a box that stays closed ends the launch at once, with its reason, and leaves nothing', async (t) => {
  const one = launch(['--image', image], {
    FAKE_CONSOLE: '[  1.0] config[7]: clawdy: closed: launch.json refused: because',
  });
  const { code, stdout, stderr } = await one.ended;
  t.is(code, 1, stderr);
  t.is(stdout, '');
  t.regex(stderr, /the instance stays closed: launch\.json refused: because/);
  t.true(await gone(one.dir, (await one.qemu()).pid));
});

test.serial('a QEMU that ends leaves nothing, and the error says what to do', async (t) => {
  const one = launch(['--image', image], { FAKE_END: 'yes' });
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
    await one.until(() => readdirSync(one.dir).length > 0);
    t.true(runs(pid));
    one.child.kill(signal);
    t.is((await one.ended).code, wanted);
    t.true(await gone(one.dir, pid));
  });
}

test.serial(
  'a launch that is killed while it prepares leaves what the next command removes, and only that',
  async (t) => {
    const gated = makeImage(join(work, 'gated'), ['02-auth-code']);
    launcher.put('openssl', 'echo $$ >"$HOME/openssl.pid"; exec sleep 60');
    const one = launch(['--image', gated]);
    const env = { HOME: one.home };
    const stub = join(one.home, 'openssl.pid');
    await one.until(() => existsSync(stub) && readFileSync(stub, 'utf8') !== '');
    const [id] = readdirSync(one.dir) as [string];
    t.true(existsSync(join(one.dir, id, 'id_ed25519')), 'there is something to be left');
    t.is((await launch(['list'], env).ended).stderr, '', 'its owner lives');
    t.true(existsSync(join(one.dir, id)));
    one.child.kill('SIGKILL');
    await one.ended;
    const owner = readFileSync(join(one.dir, id, 'owner.json'));
    // With a record, even one that can't be read, it is an instance; without an owner it was kept.
    const record = join(one.dir, `${id}.json`);
    writeFileSync(record, '{');
    t.regex((await launch(['list'], env).ended).stderr, /can't be read/);
    t.true(existsSync(join(one.dir, id, 'id_ed25519')));
    rmSync(record);
    mkdirSync(join(one.dir, 'local-kept'));
    const { code, stderr } = await launch(['destroy', id, '--yes'], env).ended;
    t.is(code, 0, stderr);
    t.is(stderr, `${id}: its launch was killed; what was left of it is removed\n`);
    t.deepEqual(readdirSync(one.dir), ['local-kept']);
    mkdirSync(join(one.dir, 'local-dead'));
    writeFileSync(join(one.dir, 'local-dead', 'owner.json'), owner);
    const next = launch(['--image', image], { ...env, FAKE_CONSOLE: 'clawdy: closed: because' });
    t.regex((await next.ended).stderr, /^local-dead: its launch was killed/);
    t.deepEqual(readdirSync(one.dir), ['local-kept']);
    rmSync(join(launcher.bin, 'openssl'));
    process.kill(Number(readFileSync(stub, 'utf8')), 'SIGKILL');
  },
);

test.serial('the overlay’s base is the image itself, not a link that a bake moves', async (t) => {
  symlinkSync(image, join(work, 'latest'));
  const one = launch(['--image', join(work, 'latest'), '--keep'], { FAKE_CONSOLE: 'clawdy: closed: because' });
  await one.ended;
  const disk = join(one.dir, readdirSync(one.dir)[0] as string, 'disk.qcow2');
  const info = JSON.parse(spawnSync('qemu-img', ['info', '--output=json', disk], { encoding: 'utf8' }).stdout);
  t.is(info['backing-filename'], join(image, 'disk.qcow2'));
});

test.serial(
  'what is missing is said before anything is made: a disk, a program, a record that can be read',
  async (t) => {
    const diskless = makeImage(join(work, 'diskless'));
    rmSync(join(diskless, 'disk.qcow2'));
    const one = launch(['--image', diskless]);
    t.like(await one.ended, { code: 3, stdout: '' });
    t.regex((await one.ended).stderr, /diskless has no disk\.qcow2\n {2}next: .*make bake/);
    t.deepEqual(readdirSync(one.home), []);

    spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(work, 'key')]);
    const bare = launch(['--image', image, '--ssh-key', join(work, 'key.pub')], { PATH: launcher.bin });
    t.like(await bare.ended, { code: 4, stdout: '' });
    t.regex((await bare.ended).stderr, /(qemu-img|ssh-keygen) is not installed\n {2}next: npm run setup\n/);
    t.deepEqual(readdirSync(bare.dir), []);

    writeFileSync(join(bare.dir, 'local-1.json'), '{');
    const blind = await launch(['--image', image], { HOME: bare.home }).ended;
    t.is(blind.code, 3);
    t.regex(blind.stderr, /could be a replay: .*local-1\.json can't be read: .*\n {2}next: .*move it away/);
    t.deepEqual(readdirSync(bare.dir), ['local-1.json']);
  },
);

test.serial('the token is in the seed alone; --keep leaves it there with the logs, for the owner only', async (t) => {
  const one = launch(['--image', image, '--keep'], { FAKE_CONSOLE: 'clawdy: closed: because' });
  const { stdout, stderr } = await one.ended;
  const { pid, arguments: words, environment } = await one.qemu();
  t.false(runs(pid));
  const dir = join(one.dir, readdirSync(one.dir)[0] as string);
  t.regex(stderr, new RegExp(`log: {2}${dir}/console\\.log`));
  const found = spawnSync('sh', ['-c', 'find "$1" "$1/.." "$1/../.." -perm /077', 'sh', dir], { encoding: 'utf8' });
  t.is(found.stdout.replaceAll(/^.*qmp\.sock\n/gm, ''), '');
  const { token } = seededLaunch(dir);
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
  [['destroy', '../x', '--yes'], 3, /isn't an instance's ID/],
  [['destroy', 'local-1', '--yes'], 3, /no instance is called local-1/],
  [['header', '/etc/passwd'], 3, /isn't an instance's ID/],
  [['destroy'], 2, /missing required argument/],
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

test('header prints the code into a pipe, by the operator’s own key, which it never makes', async (t) => {
  const home = mkdtempSync(join(work, 'home-'));
  const [config, dir] = [join(home, 'config', 'clawdy'), join(home, 'state', 'clawdy', 'instances')];
  for (const folder of [config, dir]) mkdirSync(folder, { recursive: true });
  const key = join(config, 'operator.age');
  const identity = await generateX25519Identity();
  writeFileSync(key, `${identity}\n`, { mode: 0o600 });
  const code_encrypted = await encryptTo(await identityToRecipient(identity), BUNDLE.code);
  writeFileSync(join(dir, 'local-1.json'), JSON.stringify({ ...RECORD, code_encrypted }));
  const header = () => launch(['header', 'local-1'], { HOME: home }).ended;
  const line = `X-Clawdy-Code: ${BUNDLE.code}`;
  t.like(await header(), { code: 0, stdout: `${line}\n` });

  const onTerminal = (more: string) =>
    spawnSync('script', ['-qec', `"${process.execPath}" build.ts launch header local-1 ${more}`, '/dev/null'], {
      encoding: 'utf8',
      cwd: ROOT,
      env: { ...process.env, XDG_STATE_HOME: join(home, 'state'), XDG_CONFIG_HOME: join(home, 'config') },
    });
  const refused = onTerminal('');
  t.is(refused.status, 3, refused.stdout);
  t.false(refused.stdout.includes(BUNDLE.code));
  t.regex(refused.stdout, /isn't shown on a terminal\r\n {2}next: pipe it: .* or add --show/);
  t.is(onTerminal('--show').stdout, `${line}\r\n`);

  chmodSync(key, 0o640);
  const loose = await header();
  t.like(loose, { code: 3, stdout: '' });
  t.true(loose.stderr.includes(`next: chmod 600 ${key}\n`), loose.stderr);
  rmSync(key);
  const lost = await header();
  t.like(lost, { code: 3, stdout: '' });
  t.regex(lost.stderr, /operator\.age isn't there\n {2}next: put back its backup/);
  t.false(existsSync(key));
});

test('verify takes an image by its absolute path', (t) => {
  const words = [join(ROOT, 'build.ts'), 'verify', '--plan', '--image', join(work, 'nowhere')];
  const { stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' });
  t.true(stderr.includes(`✖ image: ${join(work, 'nowhere')} holds no image`), stderr);
});
