import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { cacheRoot } from '../../src/plan/cache.ts';
import { run } from '../../src/process/run.ts';
import type { Publication } from '../../src/publish/journal.ts';
import { provenCopy } from '../fakes/proof.ts';
import { IMAGE_DIR, imageUnderTest, ROOT } from '../image.ts';
import { LIMITS } from '../vm/machine.ts';

// The image itself, through publish, promote and prune, on the cloud that everybody has: this computer. What it is published
// as is booted, and believed when it has said our token back.

let home: string;
let image: string;
let env: NodeJS.ProcessEnv;
test.before(() => {
  mkdirSync(cacheRoot(), { recursive: true });
  home = mkdtempSync(join(cacheRoot(), 'publish-'));
  // The claims that prove it come after these tests.
  image = provenCopy(realpathSync(IMAGE_DIR), join(home, 'image'));
  const xdg = {
    XDG_STATE_HOME: join(home, 's'),
    XDG_CONFIG_HOME: join(home, 'c'),
    XDG_CACHE_HOME: join(cacheRoot(), '..'),
  };
  env = { ...process.env, ...xdg, CLAWDY_STORE: join(home, 'store'), CLAWDY_PUBLICATIONS: join(home, 'journals') };
});
test.after.always(() => rmSync(home, { recursive: true, force: true }));

const { id, base, disk } = imageUnderTest();

function start(words: string): {
  child: ChildProcess;
  ended: Promise<{ code: number | null; stdout: string; stderr: string }>;
} {
  const child = spawn('node', ['build.ts', ...words.split(' ')], { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout?.on('data', (text) => (stdout += text));
  child.stderr?.on('data', (text) => (stderr += text));
  return { child, ended: once(child, 'close').then(([code]) => ({ code: code as number | null, stdout, stderr })) };
}

const command = (words: string) => start(words).ended;
const entries = (): Publication[] => {
  const file = join(home, 'journals', `${id}.json`);
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).publications : [];
};
const probes = () => readdirSync(join(home, 's', 'clawdy', 'instances'));

test.serial('a publication that is killed while its machine boots leaves no machine', async (t) => {
  const { child, ended } = start(`publish --image ${image}`);
  const until = Date.now() + LIMITS.ready;
  let early = '';
  ended.then(({ stderr }) => (early = stderr));
  while (!entries()[0]?.notes.probe && !early && Date.now() < until) await sleep(200);
  const probe = entries()[0]?.notes.probe as string;
  t.truthy(probe, early);
  // As long as QEMU writes there, it runs.
  const folder = join(home, 's', 'clawdy', 'instances', probe);
  while (!existsSync(join(folder, 'console.log')) && Date.now() < until) await sleep(200);
  child.kill('SIGKILL');
  await ended;
  t.is(entries()[0]?.state, 'registered');
  const running = async () =>
    (await run('pgrep', ['-f', folder], { step: 'test', ok: [0, 1] })).stdout.split('\n').filter(Boolean);
  for (let waited = 0; (await running()).length && waited < 100; waited++) await sleep(100);
  t.deepEqual(await running(), []);
});

test.serial('the next run goes on where that one was: it boots the image, believes it, and records it', async (t) => {
  const { code, stdout, stderr } = await command(`publish --image ${image} --json`);
  t.is(code, 0, stderr);
  t.notRegex(stderr, /upload/);
  const { publications, ...rest } = JSON.parse(stdout);
  t.deepEqual(rest, { image: id, cloud: 'local' });
  t.is(publications.length, 1);
  const [{ seconds, bytes_sent, boot_seconds, ...published }] = publications;
  t.true(boot_seconds > 5 && boot_seconds < seconds);
  t.deepEqual(published, { region: 'local', image_id: id, snapshot_id: disk.rawSha256, bytes_total: disk.rawSize });
  t.true(seconds > 0 && bytes_sent > 0 && bytes_sent < disk.rawSize);
  t.deepEqual(
    entries().map(({ state }) => state),
    ['recorded'],
  );
  t.deepEqual(probes(), []);
  t.deepEqual(readdirSync(join(home, 'store')).sort(), ['.lock', 'channels', 'images']);
});

test.serial('what the store holds are the very bytes that were sealed', async (t) => {
  const raw = join(home, 'back.raw');
  await run('qemu-img', ['convert', '-O', 'raw', join(home, 'store', 'images', id, 'disk.qcow2'), raw], {
    step: 'test',
  });
  const { stdout } = await run('sha256sum', [raw], { step: 'test' });
  t.is(stdout.slice(0, 64), disk.rawSha256);
  rmSync(raw);
});

test.serial('again: nothing to do, in seconds', async (t) => {
  const { code, stdout } = await command(`publish --image ${image} --json`);
  t.is(code, 0);
  t.like(JSON.parse(stdout), { publications: [{ image_id: id, bytes_sent: 0, seconds: 0 }] });
});

test.serial('promote asks, then points latest at it; prune keeps what a channel names', async (t) => {
  const asked = await command(`promote --base ${base.id}`);
  t.is(asked.code, 3);
  t.regex(asked.stderr, /latest none → .*add --yes/s);
  const link = join(home, 'store', 'channels', base.id, 'latest');
  t.false(existsSync(link));
  t.is((await command(`promote --base ${base.id} --yes`)).code, 0);
  t.is(basename(readlinkSync(link)), id);
  const { stdout } = await command('prune --keep 0 --grace 0 --yes --json');
  t.like(JSON.parse(stdout), [{ act: 'keep', id, why: 'it is candidate, latest' }]);
  t.true(existsSync(join(link, 'disk.qcow2')));
});
