import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import test from 'ava';
import type { NightRecord } from '../../src/nightly/night.ts';
import { settingsSchema } from '../../src/nightly/settings.ts';
import { tellNight, webhookOf } from '../../src/nightly/tell.ts';
import { newest, restoreRuntime, updateRuntime } from '../../src/nightly/update.ts';
import { BuildError, EXIT } from '../../src/process/errors.ts';

const work = mkdtempSync(join(tmpdir(), 'clawdy-update-'));
test.after.always(() => rmSync(work, { recursive: true, force: true }));

test('a range leads forward, to what is in it, and never from outside', (t) => {
  const versions = ['2026.9.6', '2026.9.7', '2026.10.1', '2026.10.2-beta.1', '2027.1.0'];
  t.is(newest('openclaw', '>=2026.9.6 <2027', '2026.9.6', versions), '2026.10.1');
  t.is(newest('openclaw', '~2026.9.6', '2026.9.6', versions), '2026.9.7');
  t.is(newest('openclaw', '2026.9.6', '2026.9.6', []), '2026.9.6', 'what was withdrawn meanwhile');
  const error = t.throws(() => newest('node', '^24', '22.1.0', []), {
    instanceOf: BuildError,
    message: /node is 22.1.0/,
  });
  t.is(error?.exitCode, EXIT.input);
});

test('the runtime’s lockfile moves as one; a run that fails leaves it as it was', async (t) => {
  const root = join(work, 'root');
  const dir = join(root, 'rootfs', 'runtime');
  mkdirSync(dir, { recursive: true });
  for (const name of ['package.json', 'package-lock.json']) cpSync(join('rootfs/runtime', name), join(dir, name));
  cpSync('.npmrc', join(root, '.npmrc'));
  const now = JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8')).dependencies.openclaw as string;
  // A stand-in for npm, which knows one version more, and writes what it was told.
  const bin = join(work, 'bin');
  mkdirSync(bin);
  const next = now.replace(/\d+$/, (patch) => String(Number(patch) + 1));
  writeFileSync(
    join(bin, 'npm'),
    `#!/bin/sh
if [ "$1" = view ]; then echo '["${now}","${next}"]'; exit; fi
echo "$*" >'${join(work, 'asked')}'
[ ! -e '${join(work, 'fail')}' ] || { echo half >package-lock.json; exit 1; }
sed -i 's/"openclaw": "${now}"/"openclaw": "${next}"/' package.json package-lock.json
`,
  );
  chmodSync(join(bin, 'npm'), 0o755);
  const path = process.env.PATH;
  process.env.PATH = `${bin}${delimiter}${path}`;
  t.teardown(() => {
    process.env.PATH = path;
  });
  const [kept, log] = [join(work, 'kept'), join(work, 'log')];
  const before = readFileSync(join(dir, 'package-lock.json'));

  writeFileSync(join(work, 'fail'), '');
  await t.throwsAsync(updateRuntime(root, { openclaw: `^${now}` }, kept, log), { instanceOf: BuildError });
  t.deepEqual(readFileSync(join(dir, 'package-lock.json')), before);
  t.deepEqual(readdirSync(dir).sort(), ['package-lock.json', 'package.json']);
  rmSync(join(work, 'fail'));

  t.deepEqual(await updateRuntime(root, { openclaw: now }, kept, log), {}, 'one version is a range too');
  t.deepEqual(await updateRuntime(root, { openclaw: `^${now}` }, kept, log), { openclaw: { from: now, to: next } });
  t.regex(
    readFileSync(join(work, 'asked'), 'utf8'),
    new RegExp(`--package-lock-only .*--ignore-scripts .*openclaw@${next}$`, 'm'),
  );
  t.regex(readFileSync(join(dir, 'package.json'), 'utf8'), new RegExp(`"openclaw": "${next}"`));
  restoreRuntime(root, kept);
  t.deepEqual(readFileSync(join(dir, 'package-lock.json')), before);
  restoreRuntime(root, join(work, 'nothing'));
  t.true(existsSync(join(dir, 'package.json')));
});

test('settings are closed; times are read', (t) => {
  const parse = (more: object) =>
    settingsSchema.safeParse({ version: 1, bases: ['debian-13'], clouds: [{ name: 'local' }], ...more });
  t.is(parse({ limits: { bake: '90m' } }).data?.limits.bake, 5400);
  t.is(parse({}).data?.limits.proof, 6 * 3600);
  for (const odd of [
    { bases: [] },
    { cloud: 'local' },
    { limits: { bake: '90' } },
    { bounds: { size: { warn: 50, stop: 10 } } },
  ])
    t.false(parse(odd).success, JSON.stringify(odd));
});

test('the webhook is told one line; its URL is told nobody', async (t) => {
  const record: NightRecord = {
    ...{ schema: 1, id: '20261101T000000Z', started: '2026-11-01T00:00:00Z', settings: '', stages: [] },
    ...{ verdict: 'red', said: 'debian-13: red claims: x' },
  };
  t.is(webhookOf({}), undefined);
  t.throws(() => webhookOf({ CLAWDY_NIGHTLY_WEBHOOK: 'http://chat.example.com/secret' }), {
    message: /^CLAWDY_NIGHTLY_WEBHOOK isn't an https URL$/,
  });
  const url = webhookOf({ CLAWDY_NIGHTLY_WEBHOOK: 'https://chat.example.com/secret' }) as URL;
  const bodies: string[] = [];
  const answers = [new Response(null, { status: 503 }), new Response('ok')];
  await tellNight(url, record, async (_, init) => {
    bodies.push(String(init?.body));
    return answers.shift() as Response;
  });
  t.is(bodies.length, 2, 'once more where it was busy');
  t.is(JSON.parse(bodies[0] as string).text, 'clawdy nightly 20261101T000000Z: debian-13: red claims: x');
  const refused = await t.throwsAsync(
    tellNight(url, record, async () => new Response(null, { status: 404 })),
    { instanceOf: BuildError, message: /it answered 404/ },
  );
  t.false(`${refused?.message}${refused?.hint}`.includes('secret'));
});
