import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { machineDir } from '../../src/launch/places.ts';
import { isTaken, listRecords, readRecord, removeRecord, writeRecord } from '../../src/launch/records.ts';
import { curlLine, publicView, renderLaunched, renderTable, sshLine } from '../../src/launch/render.ts';
import { ROOT, RECORD as record } from './launch-fixture.ts';

const state = mkdtempSync(join(tmpdir(), 'clawdy 100%  state-'));
process.env.XDG_STATE_HOME = state;
const dir = join(state, 'clawdy', 'instances');
test.after.always(() => rmSync(state, { recursive: true }));

test.beforeEach(() => rmSync(dir, { recursive: true, force: true }));

test.serial('a record is read as it was written, by its owner alone, and gone when removed', (t) => {
  writeRecord(record);
  t.deepEqual(readRecord('local-1'), record);
  t.is(statSync(join(dir, 'local-1.json')).mode & 0o777, 0o600);
  t.is(statSync(dir).mode & 0o777, 0o700);
  writeRecord({ ...record, image_id: 'other' });
  t.is(readRecord('local-1').image_id, 'other');
  t.deepEqual(readdirSync(dir), ['local-1.json'], 'nothing is left of the writing');
  t.true(isTaken('launch-1'));
  t.false(isTaken('launch-2'));
  removeRecord('local-1');
  t.throws(() => readRecord('local-1'), { name: 'BuildError', message: /no instance is called local-1/ });
  t.false(isTaken('launch-1'));
});

test.serial('a write that fails leaves the record that was there', (t) => {
  writeRecord(record);
  t.throws(() => writeRecord({ ...record, user: '' }));
  // The name is taken by a folder: the rename fails, as on a full or broken disk.
  mkdirSync(join(dir, 'local-2.json', 'x'), { recursive: true });
  t.throws(() => writeRecord({ ...record, instance_id: 'local-2' }), { message: /EISDIR|ENOTEMPTY/ });
  t.deepEqual(readRecord('local-1'), record);
  t.deepEqual(readdirSync(dir).sort(), ['local-1.json', 'local-2.json']);
});

for (const [what, content] of [
  ['no JSON', '{"version": 1'],
  ['of another version', JSON.stringify({ ...record, version: 2 })],
  ['with an unknown member', JSON.stringify({ ...record, token: 'x' })],
  ['without its machine', JSON.stringify({ ...record, qemu: undefined })],
  ['of another instance', JSON.stringify({ ...record, instance_id: 'local-9' })],
  ['of an instance that leads elsewhere', JSON.stringify({ ...record, instance_id: '../x' })],
] as const) {
  test.serial(`a record that is ${what} is named, left as it is, and hides no other`, (t) => {
    writeRecord(record);
    const file = join(dir, 'local-2.json');
    writeFileSync(file, content);
    const error = t.throws(() => readRecord('local-2'), { name: 'BuildError' });
    t.true(error?.message.startsWith(`${file} can't be read: `), error?.message);
    const { records, faults } = listRecords();
    t.deepEqual(records, [record]);
    t.deepEqual(
      faults.map(({ message }) => message),
      [error?.message],
    );
    t.is(readFileSync(file, 'utf8'), content);
    t.true(isTaken(record.launch_id));
    // It could be that launch's.
    const fault = t.throws(() => isTaken('launch-9'), { name: 'BuildError' });
    t.true(fault?.message.includes(file));
  });
}

test.serial('an ID that leads elsewhere is refused wherever one is taken', (t) => {
  t.notThrows(() => machineDir('local-1'));
  for (const id of ['', '.', '..', '../x', 'a/b', '/etc/passwd', 'A', '-x', 'x\0', 'x\n', 'é', 'x'.repeat(64)]) {
    for (const take of [
      readRecord,
      machineDir,
      removeRecord,
      (id: string) => writeRecord({ ...record, instance_id: id }),
    ]) {
      t.throws(() => take(id), { message: /isn't an instance's ID/ }, JSON.stringify(id));
    }
  }
  t.false(existsSync(join(state, 'clawdy', 'x')));
});

test.serial('a record under a name that is no ID is named too', (t) => {
  writeRecord(record);
  writeFileSync(join(dir, 'a b.json'), '{}');
  const { records, faults } = listRecords();
  t.deepEqual(records, [record]);
  t.deepEqual(
    faults.map(({ message }) => message),
    [`${join(dir, 'a b.json')} can't be read: its name isn't an instance's ID`],
  );
});

test.serial('what is printed names no secret, and lines for a shell are quoted', (t) => {
  t.deepEqual(publicView(record), {
    cloud: 'local',
    instance_id: 'local-1',
    address: '127.0.0.1',
    ssh: { user: 'clawdy', port: 40_000, host_key: record.ssh.host_key },
    gate_url: 'https://localhost:40001/',
    image_id: record.image_id,
  });
  t.is(
    sshLine(record),
    `ssh -p 40000 -i '/keys/with space' -o IdentitiesOnly=yes -o 'UserKnownHostsFile="${dir.replace('%', '%%')}/local-1/known_hosts"' -o StrictHostKeyChecking=yes clawdy@127.0.0.1`,
  );
  const gate = `--noproxy localhost --cacert '${dir}/local-1/gate.crt' --cert /x/client.crt --key /x/client.key`;
  t.is(
    curlLine(record),
    `npm --prefix ${ROOT} run -s launch -- header local-1 | curl ${gate} -H @- -H 'x-clawdy-user: owner@localhost' https://localhost:40001/`,
  );
  t.is(curlLine({ ...record, gate_url: null }), undefined);
  t.regex(renderTable([record], [false]), /^INSTANCE .*\nlocal-1 {3}off {4}127\.0\.0\.1:40000 /);
  t.regex(renderTable([], []), /no instances/);
});

test.serial('ssh takes the known_hosts of the line for one file, whatever its path holds', (t) => {
  const { stdout } = spawnSync('sh', ['-c', sshLine(record).replace(/^ssh /, 'ssh -G ')], { encoding: 'utf8' });
  // Of two files the names would be joined by one space.
  t.true(stdout.split('\n').includes(`userknownhostsfile ${dir}/local-1/known_hosts`), stdout);
});

test.serial('the printed npm line works in any folder', (t) => {
  writeRecord(record);
  const words = (curlLine(record) as string).split(' header ')[0];
  const { stdout, stderr } = spawnSync('sh', ['-c', `${words} list`], { encoding: 'utf8', cwd: state });
  t.regex(stdout, /^INSTANCE .*\nlocal-1 /, stderr);
});

test.serial('who didn’t wait is told that the gate may not answer yet', (t) => {
  t.notRegex(renderLaunched(record), /443/);
  t.regex(renderLaunched(record, false), /ask .*\n +\(answered only once 443 opens/);
  t.notRegex(renderLaunched({ ...record, gate_url: null }, false), /443/);
});
