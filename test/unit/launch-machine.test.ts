import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { holdPort } from '../../src/launch/local/free-port.ts';
import { forwards } from '../../src/launch/local/machine.ts';
import { type BuildError, EXIT } from '../../src/process/errors.ts';
import { identify, isAlive, startGuarded } from '../../src/process/guarded.ts';

const work = mkdtempSync(join(tmpdir(), 'clawdy-guard-'));
test.after.always(() => rmSync(work, { recursive: true, force: true }));

function place(): { log: string; folder: string } {
  const folder = mkdtempSync(join(work, 'folder-'));
  writeFileSync(join(folder, 'disk'), '');
  return { log: join(work, `${folder.slice(-6)}.log`), folder };
}

async function until(condition: () => boolean): Promise<boolean> {
  for (let tries = 0; tries < 100 && !condition(); tries++) await sleep(100);
  return condition();
}

test('a guarded program runs until it is ended, and its folder goes with it', async (t) => {
  const { log, folder } = place();
  const guarded = await startGuarded('sh', ['-c', 'echo "$1"; exec sleep 600', 'sh', "it's said"], { log, folder });
  t.true(guarded.alive());
  t.true(await until(() => existsSync(log) && readFileSync(log, 'utf8') === "it's said\n"));
  await guarded.end();
  t.false(guarded.alive());
  t.false(existsSync(folder));
});

test('a guarded program that is kept outlives its guard', async (t) => {
  const { log, folder } = place();
  const guarded = await startGuarded('sleep', ['600'], { log, folder });
  await guarded.keep();
  await sleep(300);
  t.true(guarded.alive());
  t.true(existsSync(folder));
  process.kill(guarded.identity.pid, 'SIGKILL');
  t.true(await until(() => !guarded.alive()));
});

test('a guarded program that ends by itself is seen to', async (t) => {
  const { log, folder } = place();
  const guarded = await startGuarded('sh', ['-c', 'sleep 3; echo why; exit 3'], { log, folder });
  t.true(await until(() => !guarded.alive()));
  t.is(readFileSync(log, 'utf8'), 'why\n');
  await guarded.end();
});

test('a program that isn’t installed is said to be missing, and nothing runs', async (t) => {
  const { log, folder } = place();
  const error = await t.throwsAsync<BuildError>(startGuarded('clawdy-no-such-program', [], { log, folder }), {
    message: 'clawdy-no-such-program is not installed',
  });
  t.like(error, { exitCode: EXIT.prerequisite, hint: 'npm run setup' });
});

for (const signal of ['SIGINT', 'SIGKILL'] as const) {
  test(`when we end by ${signal}, the guarded program does too, and its folder is gone`, async (t) => {
    const { log, folder } = place();
    const script = `
      const { startGuarded } = await import(${JSON.stringify(join(import.meta.dirname, '../../src/process/guarded.ts'))});
      const { identity } = await startGuarded('sleep', ['600'], ${JSON.stringify({ log, folder })});
      console.log(JSON.stringify(identity));
      setInterval(() => {}, 1000);`;
    const parent = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const identity = JSON.parse(String((await once(parent.stdout, 'data'))[0]));
    t.true(isAlive(identity));
    parent.kill(signal);
    t.true(await until(() => !isAlive(identity) && !existsSync(folder)));
  });
}

test('a process is told from a later one with its number, and from one of another boot', (t) => {
  const mine = identify(process.pid);
  if (!mine) throw new Error('this process was not found');
  t.true(isAlive(mine));
  t.false(isAlive({ ...mine, start_ticks: mine.start_ticks - 1 }));
  t.false(isAlive({ ...mine, boot_id: 'another' }));
  t.is(identify(2 ** 22 + 1), undefined);
});

test('the monitor’s table of forwards is read', (t) => {
  // QEMU 7.2, `info usernet`.
  const table = `Hub -1 (net):
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
  TCP[ESTABLISHED]   23       127.0.0.1 41797       10.0.2.15 27114     0     0
  TCP[HOST_FORWARD]  21       127.0.0.1 35281       10.0.2.15   443     0     0
  TCP[HOST_FORWARD]  20       127.0.0.1 41797       10.0.2.15 27114     0     0
  UDP[236 sec]       22       10.0.2.15 60142        10.0.2.3    53     0     0
`;
  t.deepEqual(forwards(table), [
    { host: 35_281, guest: 443 },
    { host: 41_797, guest: 27_114 },
  ]);
  t.deepEqual(forwards(''), []);
});

test('a held port is nobody else’s until it is released', async (t) => {
  const held = await holdPort();
  const other = await holdPort();
  t.not(held.port, other.port);
  const answered = () =>
    new Promise<string>((resolve) => {
      const socket = connect(held.port, '127.0.0.1');
      socket.on('connect', () => socket.destroy() && resolve('connect')).on('error', () => resolve('error'));
    });
  t.is(await answered(), 'connect');
  await held.release();
  t.is(await answered(), 'error');
  await other.release();
});
