import { existsSync, mkdirSync, mkdtempSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { loadBase } from '../../src/base/bases.ts';
import { cacheDir, cached, uncache } from '../../src/plan/cache.ts';
import { hashFiles, hashOf } from '../../src/plan/hash.ts';
import { renderError } from '../../src/process/errors.ts';
import { run } from '../../src/process/run.ts';

test.before(() => {
  process.env.XDG_CACHE_HOME = mkdtempSync(join(tmpdir(), 'clawdy-cache-'));
});

test.serial('a result is built once for its key', async (t) => {
  let built = 0;
  const build = async (dir: string) => {
    built++;
    writeFileSync(join(dir, 'x'), 'x');
  };
  const key = hashOf('one');
  const [first, second] = await Promise.all([cached('demo', key, build), cached('demo', key, build)]);
  t.is(built, 1);
  t.is(first.dir, second.dir);
  t.true((await cached('demo', key, build)).hit);
});

test.serial('a build that dies leaves nothing under its key', async (t) => {
  const key = hashOf('two');
  await t.throwsAsync(
    cached('demo', key, async (dir) => {
      writeFileSync(join(dir, 'half'), '');
      throw new Error('dies');
    }),
  );
  t.false(existsSync(cacheDir('demo', key)));
  t.deepEqual(
    readdirSync(join(cacheDir('demo', key), '..')).filter((name) => name.startsWith('.new-')),
    [],
  );
});

test.serial('of each kind the six last used are kept, and what may be in use', async (t) => {
  const make = async (name: string) => (await cached('many', hashOf(name), async () => undefined)).dir;
  const old = (dir: string, hours: number) => {
    const then = new Date(Date.now() - hours * 3600_000);
    utimesSync(dir, then, then);
  };
  const dirs: string[] = [];
  for (const name of '12345678') dirs.push(await make(name));
  t.true(
    dirs.every((dir) => existsSync(dir)),
    'all were used a moment ago',
  );
  for (const [index, dir] of dirs.entries()) old(dir, 20 - index);
  // A hit is a use.
  await make('1');
  await make('9');
  t.deepEqual(
    dirs.map((dir) => existsSync(dir)),
    [true, false, false, false, true, true, true, true],
  );
});

test.serial('a result that proved wrong is taken out, whole, and built anew', async (t) => {
  const key = hashOf('three');
  const build = async (dir: string) => writeFileSync(join(dir, 'x'), 'x');
  const { dir } = await cached('demo', key, build);
  await uncache('demo', key);
  await uncache('demo', key);
  t.deepEqual(
    readdirSync(join(dir, '..')).filter((name) => name.includes(key.slice(0, 12))),
    [],
  );
  t.false((await cached('demo', key, build)).hit);
});

test('content, name and the executable bit change a digest; the clock does not', (t) => {
  const root = mkdtempSync(join(tmpdir(), 'clawdy-hash-'));
  mkdirSync(join(root, 'a'));
  writeFileSync(join(root, 'a/x'), '1');
  const first = hashFiles(root, [join(root, 'a')]);
  writeFileSync(join(root, 'a/x'), '1');
  t.is(hashFiles(root, [join(root, 'a')]), first);
  writeFileSync(join(root, 'a/x'), '2');
  t.not(hashFiles(root, [join(root, 'a')]), first);
});

test('a failed program shows its last lines, the command to repeat it, and its log', async (t) => {
  const log = join(mkdtempSync(join(tmpdir(), 'clawdy-run-')), 'x.log');
  const error = await t.throwsAsync(run('sh', ['-c', 'echo why it failed >&2; exit 7'], { step: 'demo', log }));
  const text = renderError(error);
  t.regex(text, /demo: sh exited with 7/);
  t.regex(text, /why it failed/);
  t.regex(text, /repeat it: sh -c/);
  t.true(text.includes(log));
});

test('a program that is missing, and one that hangs, say so', async (t) => {
  await t.throwsAsync(run('clawdy-no-such-program', [], { step: 'demo' }), { message: /is not installed/ });
  await t.throwsAsync(run('sleep', ['30'], { step: 'demo', timeout: 200 }), { message: /ran out of time/ });
});

test('an unknown base is named, with those there are', (t) => {
  const error = t.throws(() => loadBase('debian-99'));
  t.regex(renderError(error), /debian-99[\s\S]*known: .*debian-13/);
});
