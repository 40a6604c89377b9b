import { Encrypter, generateX25519Identity, identityToRecipient } from 'age-encryption';
import test from 'ava';
import { BUNDLE_LIMIT, type Bundle, bundleMac } from '../../src/contract/enrolment.ts';
import { openBundle } from '../../src/launch/open-bundle.ts';

// Each refusal beside its control: the same bundle, sound, is opened.

const identity = await generateX25519Identity();
const TOKEN = 'token-of-this-launch-0123456789';
const CERTIFICATE = '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n';
const sound: Bundle = {
  version: 1,
  launchId: 'launch-1',
  instanceId: 'i-1',
  imageId: 'debian-13-20261122T155250Z-c7d31ac0',
  code: 'A'.repeat(43),
  ssh: { port: 20_000, hostKeys: [`ssh-ed25519 ${'A'.repeat(68)}`] },
};
const expected = { identity, token: TOKEN, launchId: 'launch-1', instanceId: 'i-1', isTaken: () => false };

async function seal(text: string, to = identity): Promise<Uint8Array> {
  const encrypter = new Encrypter();
  encrypter.addRecipient(await identityToRecipient(to));
  return encrypter.encrypt(text);
}

function envelope(body: unknown, token = TOKEN): string {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return JSON.stringify({ body: text, mac: bundleMac(token, text) });
}

test('a sound bundle is opened, with and without what later layers add', async (t) => {
  t.deepEqual(await openBundle(await seal(envelope(sound)), expected), sound);
  const more = {
    ...sound,
    gate: {
      certificate: CERTIFICATE,
      certificateRequest: CERTIFICATE.replaceAll('CERTIFICATE', 'CERTIFICATE REQUEST'),
    },
    instanceKey: CERTIFICATE.replaceAll('CERTIFICATE', 'PUBLIC KEY'),
  };
  t.deepEqual(await openBundle(await seal(envelope(more)), expected), more);
});

const wrongForms: [string, unknown, RegExp][] = [
  ['of an unknown version', { ...sound, version: 2 }, /version 2, this launcher knows 1/],
  ['without a version', { ...sound, version: undefined }, /version \(invalid_type\)/],
  ['with an unknown member', { ...sound, extra: true }, /unrecognized_keys/],
  ['with a short code', { ...sound, code: 'secret-in-the-wrong-form' }, /code \(invalid_format\)/],
  ['without a host key', { ...sound, ssh: { port: 20_000, hostKeys: [] } }, /ssh\.hostKeys/],
  ['with a port outside the range', { ...sound, ssh: { ...sound.ssh, port: 22 } }, /ssh\.port/],
  ['with text around a certificate', { ...sound, gate: { certificate: `x${CERTIFICATE}` } }, /gate\.certificate/],
  ['of another launch', { ...sound, launchId: 'launch-2' }, /of launch launch-2, this is launch-1/],
  ['of another instance', { ...sound, instanceId: 'i-2' }, /of instance i-2, this is i-1/],
  ['whose body is no JSON', '{"version":1', /its body isn't JSON/],
];
for (const [what, body, reason] of wrongForms) {
  test(`a bundle ${what} is refused, without a word of its values`, async (t) => {
    const error = await t.throwsAsync(async () => openBundle(await seal(envelope(body)), expected), {
      name: 'BuildError',
      message: reason,
    });
    t.false(error?.message.includes('secret-in-the-wrong-form'));
  });
}

test('a bundle is refused as forged when its MAC is by another token, or over other bytes', async (t) => {
  const refusal = { name: 'BuildError', message: /forged/ };
  await t.throwsAsync(async () => openBundle(await seal(envelope(sound, `${TOKEN}x`)), expected), refusal);
  const { body, mac } = JSON.parse(envelope(sound));
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
  const { body, mac } = JSON.parse(envelope(sound));
  for (const wrong of [{ body }, { body, mac, more: 1 }, { body: sound, mac }, { body, mac: 'short' }, [body, mac]]) {
    await t.throwsAsync(async () => openBundle(await seal(JSON.stringify(wrong)), expected), { message: /envelope/ });
  }
});

test('a bundle for another recipient is refused as that', async (t) => {
  const sealed = await seal(envelope(sound), await generateX25519Identity());
  await t.throwsAsync(openBundle(sealed, expected), { name: 'BuildError', message: /another recipient/ });
});

test('a bundle that lost its end, or changed in one bit, is refused', async (t) => {
  const sealed = await seal(envelope(sound));
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

test('a launch accepts once', async (t) => {
  const sealed = await seal(envelope(sound));
  const taken = new Set<string>();
  const once = { ...expected, isTaken: (launchId: string) => taken.has(launchId) };
  taken.add((await openBundle(sealed, once)).launchId);
  await t.throwsAsync(openBundle(sealed, once), { name: 'BuildError', message: /replay/ });
});
