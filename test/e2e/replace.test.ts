import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import type { InstanceRecord } from '../../src/launch/records.ts';
import { renderLaunched } from '../../src/launch/render.ts';
import { cacheRoot } from '../../src/plan/cache.ts';
import { run } from '../../src/process/run.ts';
import { CONSOLE_FILE } from '../../src/verify/lab/qemu-args.ts';
import { provenCopy } from '../fakes/proof.ts';
import { IMAGE_DIR, imageUnderTest, ROOT } from '../image.ts';
import { LIMITS } from '../vm/machine.ts';

// From a published ID to an instance, to its successor and back: on this computer, by the commands that an operator has.

let home: string;
let image: string;
let env: Record<string, string>;
const { id, base } = imageUnderTest();
test.before(() => {
  mkdirSync(cacheRoot(), { recursive: true });
  home = mkdtempSync(join(cacheRoot(), 'replace-'));
  // The claims that prove it come after these tests.
  image = provenCopy(realpathSync(IMAGE_DIR), join(home, 'image'));
  env = {
    ...{ HOME: home, XDG_STATE_HOME: join(home, 's'), XDG_CONFIG_HOME: join(home, 'c') },
    ...{ XDG_CACHE_HOME: join(cacheRoot(), '..'), CLAWDY_STORE: join(home, 'store') },
    CLAWDY_PUBLICATIONS: join(home, 'journals'),
  };
  Object.assign(process.env, { XDG_STATE_HOME: env.XDG_STATE_HOME });
});

interface Answer {
  code: number;
  stdout: string;
  stderr: string;
}

/** All that commands have said, but for the one that is to print the code. */
const heard: string[] = [];

/** Runs a command as an operator at this checkout would. */
async function operator(command: string): Promise<Answer> {
  const { exitCode, stdout, stderr } = await run('sh', ['-c', command], {
    ...{ step: 'replace', cwd: ROOT, env, ok: [...Array(256).keys()], timeout: 3 * (LIMITS.ready + LIMITS.live) },
  });
  if (!/launch header/.test(command)) heard.push(stdout, stderr);
  return { code: exitCode, stdout, stderr };
}

const clawdy = (words: string) => operator(`node build.ts ${words}`);
const instances = () => join(home, 's', 'clawdy', 'instances');
const record = (instance: string): InstanceRecord =>
  JSON.parse(readFileSync(join(instances(), `${instance}.json`), 'utf8'));
const ids = () =>
  readdirSync(instances())
    .filter((name) => name.endsWith('.json'))
    .map((name) => name.slice(0, -'.json'.length));

test.after.always(async () => {
  for (const instance of existsSync(instances()) ? ids() : []) await clawdy(`launch destroy --yes ${instance}`);
  rmSync(home, { recursive: true, force: true });
});

/** The line that a launch prints under this word. */
const line = (instance: string, word: string) =>
  new RegExp(`^ {2}${word} +(.*)$`, 'm').exec(renderLaunched(record(instance)))?.[1] as string;
const ssh = (instance: string, command: string) =>
  operator(`${line(instance, 'log in').replace(/^ssh /, 'ssh -o BatchMode=yes -o ConnectTimeout=60 ')} '${command}'`);
const asked = (instance: string) =>
  operator(line(instance, 'ask').replaceAll('curl ', `curl -sS -o /dev/null -w '%{http_code}' --max-time 120 `));

let old: string;
let next: string;

test.serial(
  'what was published and promoted is launched by its channel; its owner logs in and is answered',
  async (t) => {
    for (const words of [`publish --image ${image} --json`, `promote --base ${base.id} --yes`]) {
      const { code, stderr } = await clawdy(words);
      t.is(code, 0, stderr);
    }
    const { code, stdout, stderr } = await clawdy('launch --image latest --json');
    t.is(code, 0, stderr);
    old = JSON.parse(stdout).instance_id;
    t.is(record(old).image_id, id);
    t.true(realpathSync(record(old).disk as string).startsWith(instances()), 'an overlay; under it is the store’s');
    t.is((await ssh(old, 'mkdir -p work && echo of-the-owner >work/notes.txt && id -un')).stdout, 'clawdy');
    t.is((await asked(old)).stdout, '200');
  },
);

test.serial('a replacement has its owner’s work, other secrets, and answers; the old one is off', async (t) => {
  const before = record(old);
  const { code, stdout, stderr } = await clawdy(`replace ${old} --yes --json`);
  t.is(code, 0, stderr);
  const [{ result }] = JSON.parse(stdout);
  next = result.next;
  t.is((await ssh(next, 'cat work/notes.txt')).stdout, 'of-the-owner');
  t.is((await asked(next)).stdout, '200');
  const after = record(next);
  t.is(after.user, before.user);
  for (const [one, other] of [
    [after.ssh.host_key, before.ssh.host_key],
    [after.ssh.guest_port, before.ssh.guest_port],
    [after.instance_key, before.instance_key],
    [after.gate_certificate, before.gate_certificate],
    [(await clawdy(`launch header ${next}`)).stdout, (await clawdy(`launch header ${old}`)).stdout],
  ])
    t.not(one, other);
  // Nobody works on a home that was left behind.
  const list = JSON.parse((await clawdy('launch list --json')).stdout) as { instance_id: string; running: boolean }[];
  t.deepEqual(Object.fromEntries(list.map(({ instance_id, running }) => [instance_id, running])), {
    [old]: false,
    [next]: true,
  });
});

test.serial('no user-data holds a secret but its token; no console, log, record or output holds one', async (t) => {
  for (const instance of [old, next]) {
    const code = /^X-Clawdy-Code: ([\w-]{43})$/.exec((await clawdy(`launch header ${instance}`)).stdout)?.[1] as string;
    const folder = join(instances(), instance);
    const seed = readFileSync(join(folder, 'seed.iso'), 'latin1');
    const token = /token\\":\\"([\w-]{43})/.exec(seed)?.[1] as string;
    t.truthy(code);
    t.truthy(token, 'control: the seed is in the clear');
    const console = readFileSync(join(folder, CONSOLE_FILE), 'utf8');
    t.true(console.includes('clawdy: bundle end'), 'control: it says the bundle');
    const files = readdirSync(join(home, 's'), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && !/qcow2$|^seed\.iso$/.test(entry.name))
      .map(({ parentPath, name }) => [name, readFileSync(join(parentPath, name), 'latin1')] as const);
    t.true(files.some(([name]) => name === CONSOLE_FILE) && files.length > 6);
    for (const secret of [code, token]) {
      for (const [name, text] of files) t.false(text.includes(secret), name);
      t.false(heard.join('\n').includes(secret), 'no command has said it');
    }
    for (const secret of [code, 'AGE-SECRET-KEY', 'PRIVATE KEY']) t.false(seed.includes(secret));
  }
});

test.serial('a rollback brings back the one before as it was, and switches the other off', async (t) => {
  t.is((await ssh(next, 'echo later >work/later.txt')).code, 0);
  const { code, stderr } = await clawdy(`replace ${next} --rollback --yes --json`);
  t.is(code, 0, stderr);
  t.is((await ssh(old, 'cat work/notes.txt; ls work')).stdout, 'of-the-owner\nnotes.txt');
  t.is((await asked(old)).stdout, '200');
  const list = JSON.parse((await clawdy('launch list --json')).stdout) as { instance_id: string; running: boolean }[];
  t.deepEqual(Object.fromEntries(list.map(({ instance_id, running }) => [instance_id, running])), {
    [old]: true,
    [next]: false,
  });
});

test.serial('what is destroyed leaves nothing', async (t) => {
  for (const instance of [old, next]) t.is((await clawdy(`launch destroy ${instance} --yes`)).code, 0);
  t.deepEqual(readdirSync(instances()), []);
});
