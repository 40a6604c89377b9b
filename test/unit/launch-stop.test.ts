import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { destroyLocal } from '../../src/launch/local/stop.ts';
import { instancesDir, machineDir } from '../../src/launch/places.ts';
import { writeRecord } from '../../src/launch/records.ts';
import { identify, type ProcessIdentity } from '../../src/process/guarded.ts';
import { Progress } from '../../src/process/progress.ts';
import { Qmp } from '../../src/verify/lab/qmp.ts';
import { FAKE_QEMU, RECORD } from './launch-fixture.ts';

// However QEMU takes it, a stop ends, and ends that QEMU and no other process.

const state = mkdtempSync(join(tmpdir(), 'clawdy-stop-'));
process.env.XDG_STATE_HOME = state;
test.after.always(() => rmSync(state, { recursive: true }));
const LIMITS = { answer: 300, powerdown: 300, quit: 5000 };

/** An instance whose QEMU is the fake one, which behaves as it is told to. */
async function instance(id: string, behaviour: string) {
  const dir = machineDir(id);
  mkdirSync(dir);
  const qmp = join(dir, 'qmp.sock');
  const argv = join(dir, 'argv.json');
  const child = spawn('python3', ['-I', FAKE_QEMU, `unix:${qmp}`, `file,id=console,path=${join(dir, 'console.log')}`], {
    stdio: 'ignore',
    env: { FAKE_ARGV: argv, FAKE_CONSOLE: 'booting', FAKE_QMP: behaviour },
  });
  while (!existsSync(qmp)) await sleep(20);
  return { child, ...remember(id, identify(child.pid as number) as ProcessIdentity, qmp) };
}

function remember(id: string, qemu: ProcessIdentity, qmp: string) {
  mkdirSync(machineDir(id), { recursive: true });
  const record = { ...RECORD, instance_id: id, qemu: { ...qemu, qmp } };
  writeRecord(record);
  return { record };
}

const ending = async (child: ChildProcess) => (await once(child, 'exit')) as [number | null, string | null];
const left = (id: string) => readdirSync(instancesDir()).filter((name) => name.startsWith(id));

for (const [what, behaviour, wanted] of [
  ['shuts down', 'obey', [0, null]],
  ['answers and stays', '', [null, 'SIGKILL']],
  ['answers nothing', 'mute', [null, 'SIGKILL']],
] as const) {
  test(`a QEMU that ${what} is ended`, async (t) => {
    const id = `local-${behaviour || 'stays'}`;
    const { child, record } = await instance(id, behaviour);
    const ended = ending(child);
    await destroyLocal(record, new Progress(), LIMITS);
    t.deepEqual(await ended, [...wanted]);
    t.deepEqual(left(id), []);
  });
}

test('a QEMU that stands still is ended', async (t) => {
  const { child, record } = await instance('local-still', '');
  const ended = ending(child);
  child.kill('SIGSTOP');
  await destroyLocal(record, new Progress(), LIMITS);
  t.deepEqual(await ended, [null, 'SIGKILL']);
});

test('of an instance that is off already, what it left is removed', async (t) => {
  const child = spawn('sleep', ['60']);
  const qemu = identify(child.pid as number) as ProcessIdentity;
  child.kill('SIGKILL');
  await ending(child);
  await destroyLocal(remember('local-off', qemu, '/nowhere').record, new Progress(), LIMITS);
  t.deepEqual(left('local-off'), []);
});

test('a later process with the number of its QEMU isn’t touched', async (t) => {
  const child = spawn('sleep', ['60']);
  const other = identify(child.pid as number) as ProcessIdentity;
  const qemu = { ...other, start_ticks: other.start_ticks - 1 };
  await destroyLocal(remember('local-reused', qemu, '/nowhere').record, new Progress(), LIMITS);
  t.deepEqual(left('local-reused'), []);
  t.deepEqual(identify(child.pid as number), other);
  child.kill('SIGKILL');
});

test('a command that isn’t answered fails after its limit, and says which', async (t) => {
  const { child, record } = await instance('local-silent', 'mute');
  await t.throwsAsync(
    Qmp.open(record.qemu.qmp, () => true, 200),
    { name: 'BuildError', message: 'QEMU has not answered qmp_capabilities in 0.2 s' },
  );
  child.kill('SIGKILL');
});
