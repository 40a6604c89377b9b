import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import test from 'ava';
import { ENROL_PATH } from '../../src/contract/edge-enrolment.ts';
import { expectLaunch, takeBundle } from '../../src/edge/enrolments.ts';
import { waitForLine } from '../../src/verify/stages/ready.ts';
import { startNode } from '../edge/runtimes.ts';
import { makeWorld, newCode, UI_DOMAIN } from '../edge/world.ts';
import { userData } from '../image.ts';
import { network, withBox, work } from './boxes.ts';

/** What listens on loopback, on the address where boxes see this machine too. */
async function shown(address: string, port: number): Promise<() => void> {
  const server = createServer((socket) => {
    const other = connect(port, '127.0.0.1');
    socket.on('error', () => other.destroy());
    other.on('error', () => socket.destroy());
    socket.pipe(other).pipe(socket);
  });
  server.listen(port, address);
  await once(server, 'listening');
  return () => void server.close();
}

test('a box enrols at the auth proxy by itself, and its launcher takes the bundle there', async (t) => {
  const world = await makeWorld();
  const started = await startNode(world);
  const address = await network.hostAddress();
  const close = await shown(address, world.ports.oidc);
  const host = `auth.${UI_DOMAIN}`;
  const proxy = `https://${host}:${world.ports.oidc}`;
  const identity = await generateX25519Identity();
  const launch = { launchId: 'at-the-edge', token: newCode() };
  const mine = { version: 1, token: world.adminToken, secrets: world.secrets } as const;
  const ask = world.fetch('oidc');
  const recipient = await identityToRecipient(identity);
  const data = userData({ ...launch, recipient, enrolmentUrl: proxy + ENROL_PATH });
  const source = join(work, 'edge.crt');
  writeFileSync(source, world.tls.edge.certificate);
  const trusting = { target: '/usr/local/share/ca-certificates/edge.crt', source };
  try {
    await withBox(
      { instanceId: 'i-at-the-edge', userData: data, spoil: 'update-ca-certificates >/dev/null' },
      async (box) => {
        await box.exec(`echo '${address} ${host}' >>/etc/hosts`);
        // Nobody has said that it may come: it is refused, and tries again.
        await waitForLine(box, /clawdy: enrolment at .* failed: HTTP 403; it is tried again/);
        await expectLaunch(proxy, launch, Math.floor(Date.now() / 1000) + 3600, mine, ask);
        await waitForLine(box, /clawdy: enrolled at/);
        const expected = { ...launch, identity, instanceId: 'i-at-the-edge', isTaken: () => false };
        const bundle = await takeBundle(proxy, { ...expected, waitSeconds: 60, detail: () => {} }, mine, ask);
        const [hostKey] = bundle.ssh.hostKeys;
        const cut = "cut -d ' ' -f 1,2 /var/lib/clawdy/state/ssh/ssh_host_ed25519_key.pub";
        t.is(hostKey, (await box.exec(cut)).stdout.trim());
        t.false(started.logs().includes(bundle.code) || started.logs().includes(launch.token));
      },
      trusting,
    );
  } finally {
    close();
    await started.close();
    await world.close();
  }
});
