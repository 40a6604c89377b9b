import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { parse } from 'yaml';
import { z } from 'zod';
import { makeClientCa } from '../../src/launch/client-ca.ts';
import { launchJson, userDataOf } from '../../src/launch/launch-json.ts';
import { decryptWith, encryptTo, loadOperator } from '../../src/launch/operator.ts';
import { operatorFile } from '../../src/launch/places.ts';
import { findSshKey } from '../../src/launch/ssh-key.ts';
import { jsonSchemas } from '../../src/manifest/schemas.ts';
import { LAYERS } from '../image.ts';

const work = mkdtempSync(join(tmpdir(), 'clawdy-launch-'));
process.env.HOME = join(work, 'home');
test.after.always(() => rmSync(work, { recursive: true }));
const fresh = () => mkdtempSync(join(work, 'dir-'));
// One after the other: each has an operator of its own.
test.beforeEach(() => {
  process.env.XDG_CONFIG_HOME = fresh();
});

// zod knows no dependentRequired; which members need which is looked at by itself.
const { dependentRequired, ...document } = jsonSchemas(LAYERS)['launch.schema.json'] as Record<string, unknown>;
const schema = z.fromJSONSchema(document as Parameters<typeof z.fromJSONSchema>[0]);

test.serial('launch.json is what the box’s schema takes, with and without a gate', async (t) => {
  const { recipient } = await loadOperator();
  const { caDer } = await makeClientCa(fresh());
  const { publicKey } = await findSshKey(undefined, fresh());
  const inputs = { launchId: 'launch-1', recipient, token: 'x'.repeat(43), userKeys: [publicKey], gate: undefined };
  const direct = { clientCa: [caDer], sources: ['10.0.2.2/32'] };
  const gate = { mode: 'direct' as const, hosts: ['localhost:40000'], users: ['owner@localhost'], direct };
  for (const launch of [launchJson(inputs), launchJson({ ...inputs, gate })]) {
    t.deepEqual(schema.safeParse(launch).error?.issues ?? [], []);
    for (const [name, needed] of Object.entries(dependentRequired as Record<string, string[]>)) {
      if (name in launch) for (const one of needed) t.true(one in launch, `${name} needs ${one}`);
    }
    const { write_files: files } = parse(userDataOf(launch));
    t.is(files.length, 1);
    t.is(files[0].path, '/run/clawdy/launch.json');
    t.deepEqual(JSON.parse(files[0].content), launch);
  }
  t.true(userDataOf(launchJson({ ...inputs, gate })).startsWith('#cloud-config\n'));
  // The schema does refuse.
  t.false(schema.safeParse({ ...launchJson(inputs), extra: 1 }).success);
  t.false(schema.safeParse({ ...launchJson(inputs), recipient: 'age1' }).success);
});

test.serial('the client certificate is its CA’s, for clients only, and the CA’s key is gone', async (t) => {
  const dir = fresh();
  const made = await makeClientCa(dir);
  const openssl = (...args: string[]) => spawnSync('openssl', args, { encoding: 'utf8' });
  const ca = join(dir, 'client-ca.crt');
  t.is(openssl('verify', '-purpose', 'sslclient', '-CAfile', ca, made.certificate).status, 0);
  t.not(openssl('verify', '-purpose', 'sslserver', '-CAfile', ca, made.certificate).status, 0);
  const other = await makeClientCa(fresh());
  t.not(openssl('verify', '-purpose', 'sslclient', '-CAfile', ca, other.certificate).status, 0);
  const text = openssl('x509', '-in', made.certificate, '-noout', '-text').stdout;
  t.regex(text, /NIST CURVE: P-256/);
  t.is(openssl('x509', '-in', made.certificate, '-noout', '-checkend', String(399 * 86_400)).status, 1);
  t.is(openssl('x509', '-in', made.certificate, '-noout', '-checkend', String(397 * 86_400)).status, 0);
  t.is(
    openssl('x509', '-in', ca, '-outform', 'DER').status === 0 &&
      spawnSync('openssl', ['x509', '-in', ca, '-outform', 'DER']).stdout.toString('base64'),
    made.caDer,
  );
  t.is(statSync(made.key).mode & 0o777, 0o600);
  t.deepEqual(readdirSync(dir).sort(), ['client-ca.crt', 'client.crt', 'client.key']);
});

test.serial('the operator’s key is made once, also by two first uses at once, for its owner only', async (t) => {
  const all = await Promise.all([loadOperator(), loadOperator(), loadOperator()]);
  t.is(new Set(all.map(({ identity }) => identity)).size, 1);
  const [operator] = all;
  t.is(statSync(operatorFile()).mode & 0o777, 0o600);
  // Debian's age reads the file as its own.
  const shown = spawnSync('age-keygen', ['-y', operatorFile()], { encoding: 'utf8' });
  t.is(shown.stdout.trim(), operator.recipient);
  const armored = await encryptTo(operator.recipient, 'the code');
  t.false(armored.includes('the code'));
  t.is(await decryptWith(operator.identity, armored), 'the code');
  t.is(spawnSync('age', ['-d', '-i', operatorFile()], { input: armored, encoding: 'utf8' }).stdout, 'the code');
});

test.serial('another operator’s code isn’t decrypted; a file without one identity isn’t replaced', async (t) => {
  const mine = await loadOperator();
  const armored = await encryptTo(mine.recipient, 'the code');
  process.env.XDG_CONFIG_HOME = fresh();
  const other = await loadOperator();
  t.not(other.identity, mine.identity);
  await t.throwsAsync(decryptWith(other.identity, armored), { name: 'BuildError', message: /isn't encrypted to/ });
  for (const content of ['', 'AGE-SECRET-KEY-1SHORT\n', `${mine.identity}\n${other.identity}\n`]) {
    writeFileSync(operatorFile(), content);
    await t.throwsAsync(loadOperator(), { name: 'BuildError', message: /age identities, one is wanted/ });
    t.is(readFileSync(operatorFile(), 'utf8'), content);
  }
});

test.serial(
  'an SSH key is the named one, else a pair is made; what isn’t a public key is refused without its content',
  async (t) => {
    const dir = fresh();
    const made = await findSshKey(undefined, dir);
    t.is(made.privateFile, join(dir, 'id_ed25519'));
    t.regex(made.publicKey, /^ssh-ed25519 \S+$/, 'without a comment');
    t.deepEqual(await findSshKey(join(dir, 'id_ed25519.pub'), fresh()), made);
    const lone = join(dir, 'lone.pub');
    writeFileSync(lone, `${made.publicKey} a comment with ümlauts\n`);
    t.deepEqual(await findSshKey(lone, fresh()), { publicKey: made.publicKey, privateFile: undefined });
    const secret = readFileSync(join(dir, 'id_ed25519'), 'utf8');
    writeFileSync(join(dir, 'two.pub'), `${made.publicKey}\n${made.publicKey}\n`);
    writeFileSync(join(dir, 'options.pub'), `command="id" ${made.publicKey}\n`);
    for (const file of ['id_ed25519', 'two.pub', 'options.pub', 'missing.pub']) {
      const error = await t.throwsAsync(findSshKey(join(dir, file), fresh()), { name: 'BuildError' });
      t.false(error?.message.includes(secret.split('\n')[1] as string), file);
    }
    t.false(existsSync(join(work, 'home')));
  },
);
