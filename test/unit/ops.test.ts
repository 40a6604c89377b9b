import { generateKeyPairSync, sign } from 'node:crypto';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { OPERATORS, OPS_SOCKET, REQUEST_LIMIT, signedAs, statusSchema } from '../../src/contract/ops.ts';
import { loadOpsKey } from '../../src/launch/ops-key.ts';
import { opsKeyFile } from '../../src/launch/places.ts';
import { ask } from '../../src/ops/channel.ts';
import { readSigned } from '../../src/ops/signed.ts';
import { BuildError, EXIT } from '../../src/process/errors.ts';
import { LAYERS } from '../image.ts';
import { RECORD, ROOT } from './launch-fixture.ts';

const work = mkdtempSync(join(tmpdir(), 'clawdy-ops-test-'));
test.after.always(() => rmSync(work, { recursive: true, force: true }));

const { publicKey, privateKey } = generateKeyPairSync('ed25519');
const instance_key = publicKey.export({ type: 'spki', format: 'pem' }).toString();
const readStatus = (result: unknown, more: { instance_key: string | null }) =>
  readSigned(result, statusSchema, { instance_id: 'local-1', nonce: 'asked', purpose: 'status', ...more });
const expected = { instance_key };
const SAID = {
  ...{ version: 1, nonce: 'asked', instanceId: 'local-1', imageId: RECORD.image_id, now: '2026-11-27T00:00:00Z' },
  ...{ uptimeSeconds: 7, closed: null, selfcheck: { static: true, live: true }, openclaw: 'active', more: 1 },
};

function signed(said: object, label = signedAs('status')) {
  const body = JSON.stringify(said);
  return { body, signature: sign(null, Buffer.from(label + body), privateKey).toString('base64') };
}

test('a status is believed when this instance has signed it for this question', (t) => {
  t.like(readStatus(signed(SAID), expected), { uptimeSeconds: 7, openclaw: 'active' });
  const forged = signed(SAID);
  for (const [result, why] of [
    [{ ...forged, body: forged.body.replace('true', 'false') }, /signature isn't the instance's/],
    [signed(SAID, 'clawdy-other-v1\n'), /signature isn't the instance's/],
    [{ ...forged, signature: null }, /isn't signed/],
    [signed({ ...SAID, nonce: 'older' }), /another question/],
    [signed({ ...SAID, instanceId: 'local-2' }), /of instance local-2/],
    [signed({ ...SAID, uptimeSeconds: '7' }), /another form/],
    ['text', /another form/],
    [{ ...forged, body: 'x' }, /signature isn't/],
  ] as const)
    t.throws(() => readStatus(result, expected), { instanceOf: BuildError, message: why });
  // An image without layer 07 has no key to sign with.
  t.is(readStatus({ ...forged, signature: null }, { instance_key: null }).uptimeSeconds, 7);
});

test('the operator’s key is made once, for its owner alone', async (t) => {
  process.env.XDG_CONFIG_HOME = work;
  const made = await loadOpsKey();
  t.regex(made.publicKey, /^ssh-ed25519 [A-Za-z0-9+/]{68}$/);
  t.deepEqual(await loadOpsKey(), made);
  chmodSync(opsKeyFile(), 0o640);
  const open = await t.throwsAsync(loadOpsKey(), { instanceOf: BuildError, message: /others than you/ });
  t.is(open.exitCode, EXIT.input);
  writeFileSync(opsKeyFile(), 'no key', { mode: 0o600 });
  chmodSync(opsKeyFile(), 0o600);
  await t.throwsAsync(loadOpsKey(), { instanceOf: BuildError });
  t.is(readFileSync(opsKeyFile(), 'utf8'), 'no key', 'it isn’t overwritten');
});

test('without a key, or with too many arguments, nobody is asked; an instance that is away is said to be', async (t) => {
  const way = { ...RECORD, ssh: { ...RECORD.ssh, port: 1 } };
  const keyless = await t.throwsAsync(ask({ ...way, ops_identity_file: null }, 'status', {}), {
    message: /launched without an operator's key/,
  });
  t.is((keyless as BuildError).exitCode, EXIT.input);
  await t.throwsAsync(ask(way, 'status', { x: 'x'.repeat(REQUEST_LIMIT) }), { message: /more than 65536 bytes/ });
  const away = (await t.throwsAsync(ask(way, 'set-openrouter-key', { key: 'sk-or-v1-secret' }), {
    message: /set-openrouter-key: the channel wasn't reached/,
  })) as BuildError;
  t.false(JSON.stringify([away.message, away.hint, away.tail]).includes('sk-or-v1-secret'));
});

test('the box and the contract name the same account, socket and limit, and each verb is documented', (t) => {
  const of = (path: string) => readFileSync(join(ROOT, path), 'utf8');
  const box = 'layers/03-ssh/rootfs';
  for (const file of ['usr/lib/clawdy/ops/relay', 'usr/lib/clawdy/ops/serve'])
    t.true(of(`${box}/${file}`).includes(`REQUEST_LIMIT = ${REQUEST_LIMIT / 1024} * 1024`), file);
  t.true(of(`${box}/usr/lib/clawdy/ops/relay`).includes(`SOCKET = "${OPS_SOCKET}"`));
  t.true(of(`${box}/usr/lib/systemd/system/clawdy-ops.socket`).includes(`ListenStream=${OPS_SOCKET}`));
  t.true(of(`${box}/usr/lib/sysusers.d/03-clawdy-ops.conf`).includes(`u ${OPERATORS.name} ${OPERATORS.uid} `));
  t.true(of('layers/07-api-keys/rootfs/usr/lib/clawdy/keys/sign').includes(`'clawdy-%s-v1\\n' "$1"`));
  t.is(signedAs('status'), 'clawdy-status-v1\n');
  const documented = [...of('docs/ops.md').matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, verb]) => verb);
  t.true(documented.length > 0 && documented.every((verb) => verb && found(verb)));
  t.is(documented.length, verbs().length);
});

/** Folders of the layers' and of every image's own. */
const SHARES = LAYERS.map(({ dir }) => dir);
const verbs = () =>
  SHARES.map((share) => readFileSync(join(share, 'layer.yaml'), 'utf8')).flatMap((text) =>
    [...text.matchAll(/\/usr\/lib\/clawdy\/verbs\/([a-z-]+):/g)].map(([, verb]) => verb as string),
  );
const found = (verb: string) =>
  verbs().includes(verb) && SHARES.some((share) => existsSync(join(share, 'rootfs/usr/lib/clawdy/verbs', verb)));
