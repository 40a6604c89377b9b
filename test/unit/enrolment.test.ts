import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import test from 'ava';
import { BUNDLE_LIMIT } from '../../src/contract/enrolment.ts';
import { openBundle } from '../../src/launch/open-bundle.ts';
import { isTaken, removeRecord, writeRecord } from '../../src/launch/records.ts';
import type { BuildError } from '../../src/process/errors.ts';
import { envelope as envelopeBy, RECORD, seal as sealTo, BUNDLE as sound } from './launch-fixture.ts';

// Each refusal beside its control: the same bundle, sound, is opened.

const identity = await generateX25519Identity();
const TOKEN = 'token-of-this-launch-0123456789';
const CERTIFICATE = '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n';
const expected = { identity, token: TOKEN, launchId: 'launch-1', instanceId: 'i-1', isTaken: () => false };

const seal = async (text: string, to = identity) => sealTo(text, await identityToRecipient(to));
const envelope = (body: unknown, token = TOKEN) => envelopeBy(body, token);

test('a sound bundle is opened, with and without what later layers add', async (t) => {
  t.deepEqual(await openBundle(await seal(await envelope(sound)), expected), sound);
  const more = {
    ...sound,
    gate: {
      certificate: CERTIFICATE,
      certificateRequest: CERTIFICATE.replaceAll('CERTIFICATE', 'CERTIFICATE REQUEST'),
    },
    instanceKey: CERTIFICATE.replaceAll('CERTIFICATE', 'PUBLIC KEY'),
  };
  t.deepEqual(await openBundle(await seal(await envelope(more)), expected), more);
});

// Each has the code, and this where something is wrong.
const SECRET = 'secret-in-the-wrong-place';
const wrongForms: [string, unknown, RegExp][] = [
  ['of an unknown version', { ...sound, version: 2, more: SECRET }, /version 2, this launcher knows 1/],
  ['of a version that is none', { ...sound, version: SECRET }, /version \(invalid_type\)/],
  ['without a version', { ...sound, version: undefined, more: SECRET }, /version \(invalid_type\)/],
  ['with an unknown member', { ...sound, [SECRET]: SECRET }, /unrecognized_keys/],
  ['with a short code', { ...sound, code: SECRET }, /code \(invalid_format\)/],
  ['with another host key', { ...sound, ssh: { port: 20_000, hostKeys: [SECRET] } }, /ssh\.hostKeys\.0/],
  ['without a host key', { ...sound, ssh: { port: 20_000, hostKeys: [], more: SECRET } }, /ssh\.hostKeys/],
  ['with a port that is none', { ...sound, ssh: { ...sound.ssh, port: SECRET } }, /ssh\.port/],
  ['with a port outside the range', { ...sound, ssh: { ...sound.ssh, port: 22 }, more: SECRET }, /ssh\.port/],
  ['with text around a certificate', { ...sound, gate: { certificate: SECRET + CERTIFICATE } }, /gate\.certificate/],
  ['of a launch that is none', { ...sound, launchId: `${SECRET} ` }, /launchId \(invalid_format\)/],
  ['of another launch', { ...sound, launchId: 'launch-2' }, /of launch launch-2, this is launch-1/],
  ['of another instance', { ...sound, instanceId: 'i-2' }, /of instance i-2, this is i-1/],
  ['whose body is no JSON', `{"version":1,"code":"${sound.code}","${SECRET}`, /its body isn't JSON/],
];
for (const [what, body, reason] of wrongForms) {
  test(`a bundle ${what} is refused, in words that name at most its version and IDs`, async (t) => {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    const error = await t.throwsAsync<BuildError>(async () => openBundle(await seal(await envelope(text)), expected), {
      name: 'BuildError',
      message: reason,
    });
    const said = [error?.message, error?.hint, error?.tail].join('\n');
    for (const secret of [SECRET, sound.code]) t.false(said.includes(secret), said);
    t.true(text.includes(SECRET) || text.includes(sound.code), 'there is one that could be said');
  });
}

test('a bundle is refused as forged when its MAC is by another token, or over other bytes', async (t) => {
  const refusal = { name: 'BuildError', message: /forged/ };
  await t.throwsAsync(async () => openBundle(await seal(await envelope(sound, `${TOKEN}x`)), expected), refusal);
  const { body, mac } = JSON.parse(await envelope(sound));
  await t.notThrowsAsync(async () => openBundle(await seal(JSON.stringify({ body, mac })), expected));
  for (const change of [
    { body: body.replace('20000', '20001'), mac },
    { body: `${body} `, mac },
    { body, mac: mac.replace(/^./, (first: string) => (first === '0' ? '1' : '0')) },
  ]) {
    await t.throwsAsync(async () => openBundle(await seal(JSON.stringify(change)), expected), refusal);
  }
});

test('what authenticates an enrolment request does not authenticate a bundle', async (t) => {
  const body = JSON.stringify(sound);
  const { createHmac } = await import('node:crypto');
  const mac = createHmac('sha256', TOKEN).update(`clawdy-enrol-v1\n${body}`).digest('hex');
  await t.throwsAsync(async () => openBundle(await seal(JSON.stringify({ body, mac })), expected), {
    message: /forged/,
  });
});

test('an envelope with more or less than body and MAC is refused', async (t) => {
  const { body, mac } = JSON.parse(await envelope(sound));
  for (const wrong of [{ body }, { body, mac, more: 1 }, { body: sound, mac }, { body, mac: 'short' }, [body, mac]]) {
    await t.throwsAsync(async () => openBundle(await seal(JSON.stringify(wrong)), expected), { message: /envelope/ });
  }
});

test('a bundle for another recipient is refused as that', async (t) => {
  const sealed = await seal(await envelope(sound), await generateX25519Identity());
  await t.throwsAsync(openBundle(sealed, expected), { name: 'BuildError', message: /another recipient/ });
});

test('a bundle that lost its end, or changed in one bit, is refused', async (t) => {
  const sealed = await seal(await envelope(sound));
  for (const length of [0, 10, 100, sealed.length - 16, sealed.length - 1]) {
    await t.throwsAsync(openBundle(sealed.subarray(0, length), expected), { message: /truncated or damaged/ });
  }
  for (const place of [sealed.length - 1, sealed.length - 200]) {
    const changed = Uint8Array.from(sealed);
    changed[place] = (changed[place] as number) ^ 1;
    await t.throwsAsync(openBundle(changed, expected), { message: /truncated or damaged/ });
  }
});

test('a bundle larger than the limit is refused before it is opened', async (t) => {
  await t.throwsAsync(openBundle(new Uint8Array(BUNDLE_LIMIT + 1), expected), { message: /at most 32768/ });
});

test('a launch accepts once, while its record is there; none is accepted while a record can’t be read', async (t) => {
  const state = mkdtempSync(join(tmpdir(), 'clawdy-taken-'));
  t.teardown(() => rmSync(state, { recursive: true }));
  process.env.XDG_STATE_HOME = state;
  const sealed = await seal(await envelope(sound));
  const once = { ...expected, isTaken };
  t.is((await openBundle(sealed, once)).launchId, RECORD.launch_id);
  writeRecord(RECORD);
  await t.throwsAsync(openBundle(sealed, once), { name: 'BuildError', message: /is a replay/ });
  removeRecord(RECORD.instance_id);
  await t.notThrowsAsync(openBundle(sealed, once));
  // After a stop, and for every other launch, it is the one-time token that refuses it.
  await t.throwsAsync(openBundle(sealed, { ...once, token: `${TOKEN}2` }), { message: /forged/ });
  const file = join(state, 'clawdy', 'instances', 'local-9.json');
  writeFileSync(file, '{');
  const error = await t.throwsAsync(openBundle(sealed, once), { name: 'BuildError', message: /could be a replay/ });
  t.true(error?.message.includes(file));
});
