import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { hasGate } from '../../src/launch/local/launch.ts';
import { cacheRoot } from '../../src/plan/cache.ts';
import { isAlive, type ProcessIdentity } from '../../src/process/guarded.ts';
import { run } from '../../src/process/run.ts';
import { CONSOLE_FILE } from '../../src/verify/lab/qemu-args.ts';
import { trouble } from '../../src/verify/lab/trouble.ts';
import { IMAGE_DIR, imageUnderTest, ROOT } from '../image.ts';
import { LIMITS } from '../vm/machine.ts';

// The journey of a person who launches an image on their computer, by the lines that are printed to them.

let home: string;
let env: Record<string, string>;
test.before(() => {
  mkdirSync(cacheRoot(), { recursive: true });
  home = mkdtempSync(join(cacheRoot(), 'launch-'));
  // HOME too: a key of the person's own would be taken, and npm would write there.
  env = { HOME: home, XDG_STATE_HOME: join(home, 's'), XDG_CONFIG_HOME: join(home, 'c') };
});

interface Answer {
  code: number;
  stdout: string;
  stderr: string;
}

/** All that commands have said. */
const heard: string[] = [];

/** Runs a command as a person at this checkout would; dies with the test's process. */
async function person(command: string): Promise<Answer> {
  const { exitCode, stdout, stderr } = await run('sh', ['-c', command], {
    step: 'launch',
    cwd: ROOT,
    env: { ...env, XDG_CACHE_HOME: join(cacheRoot(), '..') },
    ok: [...Array(256).keys()],
    timeout: LIMITS.ready + LIMITS.live,
  });
  heard.push(stdout, stderr);
  return { code: exitCode, stdout, stderr };
}

const launch = (words: string) => person(`node build.ts launch ${words}`);
const id = () => (JSON.parse(readFileSync(recordFile(), 'utf8')) as { instance_id: string }).instance_id;
const instances = () => join(home, 's', 'clawdy', 'instances');
const recordFile = () => join(instances(), readdirSync(instances()).find((name) => name.endsWith('.json')) as string);

test.after.always(async () => {
  for (const name of existsSync(instances()) ? readdirSync(instances()) : []) {
    if (name.endsWith('.json')) await launch(`destroy --yes ${name.slice(0, -'.json'.length)}`);
  }
  rmSync(home, { recursive: true, force: true });
});

let launched: { instance_id: string; address: string; ssh: { user: string; port: number; host_key: string } };
let record: Record<string, unknown> & { qemu: ProcessIdentity; gate_url: string | null };
let lines: string;

test.serial('a launch ends with the instance, and nothing but it, on standard output', async (t) => {
  const { code, stdout, stderr } = await launch(`--cloud local --json --image ${IMAGE_DIR}`);
  t.is(code, 0, stderr);
  launched = JSON.parse(stdout);
  t.deepEqual(Object.keys(launched), ['cloud', 'instance_id', 'address', 'ssh', 'gate_url', 'image_id']);
  t.like(launched, { cloud: 'local', instance_id: id(), address: '127.0.0.1', image_id: imageUnderTest().id });
  record = JSON.parse(readFileSync(recordFile(), 'utf8'));
  t.true(isAlive(record.qemu), 'the machine outlives the command');
  const { renderLaunched } = await import('../../src/launch/render.ts');
  Object.assign(process.env, env);
  lines = renderLaunched(record as unknown as Parameters<typeof renderLaunched>[0]);
});

/** The line that a launch prints under this word. */
const line = (word: string) => new RegExp(`^ {2}${word} +(.*)$`, 'm').exec(lines)?.[1] as string;

test.serial('the printed line logs in at the pinned host key, and nowhere else', async (t) => {
  const batch = line('log in').replace(/^ssh /, 'ssh -o BatchMode=yes -o ConnectTimeout=60 ');
  const { code, stdout, stderr } = await person(`${batch} id -un`);
  t.is(stdout, 'clawdy', stderr);
  t.is(code, 0);
  // A host that shows another key isn't believed.
  const known = join(instances(), launched.instance_id, 'known_hosts');
  const other = `sed 's/AAAAC3NzaC1lZDI1NTE5AAAAI../AAAAC3NzaC1lZDI1NTE5AAAAIxx/' ${known} >${home}/other`;
  const mistaken = await person(`${other} && ${batch.replace(known, `${home}/other`)} id -un`);
  t.is(mistaken.code, 255);
  t.is(mistaken.stdout, '');
  t.regex(mistaken.stderr, /HOST IDENTIFICATION HAS CHANGED|Host key verification failed/);
});

test.serial('list knows the instance and that it runs', async (t) => {
  const { stdout } = await launch('list --json');
  t.deepEqual(JSON.parse(stdout), [{ ...launched, running: true }]);
  t.regex((await launch('list')).stdout, new RegExp(`^${launched.instance_id} +runs `, 'm'));
});

test.serial('the console of its boot shows no trouble', (t) => {
  const console = readFileSync(join(instances(), launched.instance_id, CONSOLE_FILE), 'utf8');
  t.regex(console, /clawdy: live ok/);
  t.deepEqual(trouble(console), []);
});

test.serial('the code is nowhere but in the pipe', async (t) => {
  const said = [...heard];
  const { code, stdout } = await launch(`header ${launched.instance_id}`);
  t.is(code, 0);
  const secret = /^X-Clawdy-Code: ([\w-]{43})$/.exec(stdout)?.[1];
  t.truthy(secret);
  t.false(
    said.some((text) => text.includes(secret as string)),
    'no command has said it',
  );
  for (const held of ['cmdline', 'environ'])
    t.false(readFileSync(`/proc/${record.qemu.pid}/${held}`, 'utf8').includes(secret as string), held);
  // By a pattern file on standard input: in no program's arguments.
  const grep = spawn('grep', ['-rlaF', '-f', '-', home], { stdio: ['pipe', 'pipe', 'ignore'] });
  grep.stdin.end(`${secret}\n`);
  t.is((await once(grep, 'close'))[0], 1, 'grep finds it in no file of the launch, the disk included');
  const control = spawn('grep', ['-rlaF', '-f', '-', home], { stdio: ['pipe', 'pipe', 'ignore'] });
  control.stdin.end(`${launched.ssh.host_key.split(' ')[1]}\n`);
  t.is((await once(control, 'close'))[0], 0, 'it does find the host key');
});

// An image without layer 02 has no gate; then the launch says so, and there is nothing to ask.
if (hasGate(imageUnderTest())) {
  test.serial('the printed line is answered by OpenClaw, and 401 without the code', async (t) => {
    const curl = line('ask').replaceAll('curl ', `curl -sS -o ${home}/body -w '%{http_code}' --max-time 120 `);
    t.is((await person(curl)).stdout, '200', curl);
    const without = await person(curl.replace(/^.*?\| /, 'printf "X-Nothing: 1\\n" | '));
    t.is(without.stdout, '401', without.stderr);
    const uninvited = await person(curl.replace(/--cert \S+ --key \S+/, ''));
    t.not(uninvited.code, 0, 'no client certificate, no TLS');
  });
} else {
  test.serial('an image without the gate is launched without one', (t) => {
    t.is(record.gate_url, null);
    t.regex(lines, /No gate in this image/);
  });
}

test.serial('destroy shuts the guest down and leaves nothing', async (t) => {
  const { qemu } = record;
  const asked = await launch(`destroy ${launched.instance_id} </dev/null`);
  t.is(asked.code, 3, 'it asks first');
  t.true(isAlive(qemu));
  const { code, stderr } = await launch(`destroy --yes ${launched.instance_id}`);
  t.is(code, 0, stderr);
  t.false(isAlive(qemu));
  t.deepEqual(readdirSync(instances()), []);
  t.deepEqual(JSON.parse((await launch('list --json')).stdout), []);
});
