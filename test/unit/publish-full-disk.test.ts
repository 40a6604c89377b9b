import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { run } from '../../src/process/run.ts';
import { makeSmallImage } from '../fakes/small-image.ts';
import { ROOT } from './launch-fixture.ts';

const work = mkdtempSync(join(tmpdir(), 'clawdy-full-'));
test.after.always(() => rmSync(work, { recursive: true, force: true }));

/** Publishes on the local cloud with a small file system at `full`, in a mount namespace of its own; then lists it. */
async function publishWith(full: string, size: string, image: string, env: Record<string, string>) {
  const script = `mount -t tmpfs -o size=$3 none "$1"; node build.ts publish --image "$2"; code=$?; ls -A "$1"; exit $code`;
  return run('unshare', ['-Urm', 'sh', '-c', script, 'sh', full, image, size], {
    ...{ step: 'test', cwd: ROOT, ok: [...Array(256).keys()] },
    env: { XDG_STATE_HOME: join(work, 's'), XDG_CACHE_HOME: join(work, 'c'), ...env },
  });
}

test('a full disk ends a publication with a clear error, and leaves nothing half-made', async (t) => {
  const console = 'clawdy: image IMAGE, instance i\nclawdy: live ok\n';
  const id = 'debian-13-20261125T000000Z-00000000';
  const image = await makeSmallImage(join(work, 'image'), { id, created: '2026-11-25T00:00:00.000Z', console });
  const [full, journals] = [mkdtempSync(join(work, 'small-')), join(work, 'journals')];

  const store = await publishWith(full, '2m', image, { CLAWDY_STORE: full, CLAWDY_PUBLICATIONS: journals });
  t.is(store.exitCode, 1);
  t.regex(store.stderr, /No space left on device[\s\S]*next: is there room in/);
  t.notRegex(store.stderr, /unexpected error|\n {4}at /);
  t.is(store.stdout, '.lock');
  const [entry] = JSON.parse(readFileSync(join(journals, `${id}.json`), 'utf8')).publications;
  t.is(entry.state, 'failed');

  const journal = await publishWith(full, '4k', image, {
    CLAWDY_STORE: join(work, 'store'),
    CLAWDY_PUBLICATIONS: full,
  });
  t.is(journal.exitCode, 1, journal.stderr);
  t.regex(journal.stderr, / can't be written: the disk is full[\s\S]*next: make room/);
  t.deepEqual(readdirSync(join(work, 'store')), ['.lock']);
  t.deepEqual(readdirSync(join(work, 'c', 'clawdy')), []);
});
