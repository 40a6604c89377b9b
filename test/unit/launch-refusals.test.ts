import { once } from 'node:events';
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import test from 'ava';
import type { Bundle } from '../../src/contract/enrolment.ts';
import { type ClientCa, makeClientCa } from '../../src/launch/client-ca.ts';
import { checkGate } from '../../src/launch/local/gate.ts';
import { identify, isAlive, type ProcessIdentity } from '../../src/process/guarded.ts';
import { BUNDLE, consoleLines, envelope, gone, Launcher, makeImage, seal, seededLaunch } from './launch-fixture.ts';

// What the launcher itself refuses once a bundle is open. The test is the box: it seals a bundle as the seed says.

const work = mkdtempSync(join(tmpdir(), 'clawdy-refusals-'));
const machines: ProcessIdentity[] = [];
test.after.always(() => {
  // What was launched although it should have been refused runs on.
  for (const machine of machines) if (isAlive(machine)) process.kill(machine.pid, 'SIGKILL');
  rmSync(work, { recursive: true, force: true });
});
const launcher = new Launcher(work);
launcher.put('ssh-keyscan', '[ -z "$FAKE_HOST_KEY" ] || echo "[127.0.0.1]:1 $FAKE_HOST_KEY"');
const plain = makeImage(join(work, 'plain'));
const gated = makeImage(join(work, 'gated'), ['02-auth-code']);
const [HOST_KEY] = BUNDLE.ssh.hostKeys as [string];
let client: ClientCa;
let certificate: string;
test.before(async () => {
  client = await makeClientCa(mkdtempSync(join(work, 'gate-')));
  certificate = readFileSync(client.certificate, 'utf8');
});

/** Launches, and answers as a box that says `changed` and shows a host key. */
async function boot(words: string[], changed: Partial<Bundle>, hostKey = HOST_KEY) {
  const one = launcher.launch(words, { FAKE_HOST_KEY: hostKey, FAKE_QMP: 'obey' });
  const { pid, arguments: qemu } = await one.qemu();
  machines.push(...[identify(pid)].filter((machine) => machine !== undefined));
  const id = qemu[qemu.indexOf('-name') + 1] as string;
  const { launchId, token, recipient } = seededLaunch(join(one.dir, id));
  const sealed = await seal(await envelope({ ...BUNDLE, launchId, instanceId: id, ...changed }, token), recipient);
  appendFileSync(join(one.dir, id, 'console.log'), `${consoleLines(sealed).join('\n')}\nclawdy: live ok\n`);
  return { one, pid, id, ...(await one.ended) };
}

test.serial(
  'a sound box is launched; its code comes by a pipe from the operator’s key alone; destroy ends it',
  async (t) => {
    const { one, pid, id, code, stdout, stderr } = await boot(['--image', plain, '--json'], {});
    t.is(code, 0, stderr);
    t.like(JSON.parse(stdout), { instance_id: id, image_id: BUNDLE.imageId, gate_url: null });
    t.deepEqual(readdirSync(one.dir).sort(), [id, `${id}.json`]);
    t.false(readdirSync(join(one.dir, id)).includes('owner.json'), 'nothing but destroy removes it now');
    const again = (words: string[]) => launcher.launch(words, { HOME: one.home }).ended;
    t.is((await again(['header', id])).stdout, `X-Clawdy-Code: ${BUNDLE.code}\n`);
    t.like(await again(['destroy', id, '--yes']), { code: 0, stdout: '' });
    t.true(await gone(one.dir, pid));
  },
);

const withGate = () => ({
  gate: { certificate, certificateRequest: certificate.replaceAll('CERTIFICATE', 'CERTIFICATE REQUEST') },
});
const refusals: [string, string, () => Partial<Bundle>, string | undefined, RegExp][] = [
  [
    'of another image',
    plain,
    () => ({ imageId: 'another' }),
    undefined,
    /says it is image another\n {2}next: it should be debian-13/,
  ],
  ['without the gate that its image has', gated, () => ({}), undefined, /has a gate and the bundle says nothing of it/],
  ['whose port shows another host key', plain, () => ({}), HOST_KEY.replace('AAA', 'AAB'), /shows another host key/],
  ['with no sshd at its port', plain, () => ({}), '', /no sshd answers at 127\.0\.0\.1 port 40001/],
  ['with no gate at its port', gated, withGate, undefined, /no gate answers at https:\/\/localhost:\d+\//],
];
for (const [what, image, changed, hostKey, reason] of refusals) {
  test.serial(`a box ${what} is refused, and nothing is left`, async (t) => {
    const { one, pid, code, stdout, stderr } = await boot(['--image', image], changed(), hostKey);
    t.is(code, 1, stderr);
    t.regex(stderr, reason);
    t.is(stdout, '');
    t.false(stderr.includes(BUNDLE.code));
    t.true(await gone(one.dir, pid));
  });
}

async function listening(server: Server): Promise<string> {
  server.listen(0, '127.0.0.1').unref();
  await once(server, 'listening');
  return `https://localhost:${(server.address() as AddressInfo).port}/`;
}

test('the gate is believed by its very certificate, whoever issued it, and has to speak TLS', async (t) => {
  const pair = { cert: certificate, key: readFileSync(client.key) };
  const ca = readFileSync(join(client.key, '..', 'client-ca.crt'));
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    const url = await listening(createTlsServer({ ...pair, ca, requestCert: true, maxVersion }));
    await t.notThrowsAsync(checkGate(url, certificate, client), maxVersion);
    const another = readFileSync((await makeClientCa(mkdtempSync(join(work, 'other-')))).certificate, 'utf8');
    await t.throwsAsync(checkGate(url, another, client), { name: 'BuildError', message: /shows another certificate/ });
  }
  const refusal = { name: 'BuildError', message: /no gate answers at/ };
  for (const speak of ['SSH-2.0-x\r\n', '']) {
    const url = await listening(createServer((socket) => socket.on('error', () => {}).write(speak)));
    await t.throwsAsync(checkGate(url, certificate, client, 500), refusal, JSON.stringify(speak));
  }
});
