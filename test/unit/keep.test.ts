import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { keptBox } from '../../src/verify/keep.ts';

const cache = mkdtempSync(join(tmpdir(), 'clawdy-keep-'));
process.env.XDG_CACHE_HOME = cache;
const record = join(cache, 'clawdy', 'kept', 'box.json');
test.after.always(() => rmSync(cache, { recursive: true, force: true }));

/** Keeps a box that echoes its commands, in a process of its own, and runs `body` meanwhile. */
const KEEPER = `
import { keep } from ${JSON.stringify(join(import.meta.dirname, '../../src/verify/keep.ts'))};
const exec = async (command) => ({ exitCode: command === 'false' ? 1 : 0, stdout: 'ran ' + command + '\\n', stderr: '' });
keep({ exec }, 'a-claim').catch((error) => { process.stderr.write(error.message); process.exit(3); });
`;

test.serial('where nobody keeps a box there is none, and a dead keeper keeps nothing', (t) => {
  t.is(keptBox(), undefined);
  mkdirSync(join(cache, 'clawdy', 'kept'), { recursive: true });
  writeFileSync(record, JSON.stringify({ pid: 99999999, claim: 'old' }));
  t.is(keptBox(), undefined);
});

test.serial('a kept machine runs what `make shell` types, and is gone with its keeper', async (t) => {
  const keeper = spawn(process.execPath, ['--input-type=module', '--eval', KEEPER], { stdio: 'inherit' });
  try {
    for (let tries = 0; keptBox()?.claim !== 'a-claim' && tries < 100; tries++)
      await new Promise((resolve) => setTimeout(resolve, 50));
    t.is(keptBox()?.pid, keeper.pid);
    const shell = spawnSync(process.execPath, ['build.ts', 'shell'], { input: 'uname\nfalse\n', encoding: 'utf8' });
    t.is(shell.status, 0, shell.stderr);
    t.regex(shell.stdout, /ran uname\n# ran false\n\(exit 1\)/);
    const second = spawnSync(process.execPath, ['--input-type=module', '--eval', KEEPER], { encoding: 'utf8' });
    t.is(second.status, 3);
    t.regex(second.stderr, /keeps a box already \(a-claim\)/);
  } finally {
    keeper.kill('SIGINT');
  }
  await new Promise((resolve) => keeper.once('exit', resolve));
  t.is(keptBox(), undefined);
  t.true(existsSync(cache));
});
