import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import test from 'ava';
import { ENROL_PATH } from '../../src/contract/edge-enrolment.ts';
import { expectLaunch, takeBundle } from '../../src/edge/enrolments.ts';
import { recordElsewhere } from '../../src/launch/elsewhere.ts';
import { readRecord } from '../../src/launch/records.ts';
import { perform } from '../../src/ops/verbs.ts';
import { waitForLine } from '../../src/verify/stages/ready.ts';
import { startNode } from '../edge/runtimes.ts';
import { makeWorld, newCode, UI_DOMAIN } from '../edge/world.ts';
import { userData } from '../image.ts';
import { network, READY, withBox, work } from './boxes.ts';
import { newOperator } from './channel.ts';
import { forward } from './forward.ts';

test('a box enrols at the auth proxy by itself; its launcher takes the bundle there, and operates it', async (t) => {
  const world = await makeWorld();
  const started = await startNode(world);
  const address = await network.hostAddress();
  const { oidc: port } = world.ports;
  // Boxes see this machine at another address than loopback.
  const { close } = await forward({ host: address, port }, { host: '127.0.0.1', port });
  const host = `auth.${UI_DOMAIN}`;
  const proxy = `https://${host}:${port}`;
  const identity = await generateX25519Identity();
  const launch = { launchId: 'at-the-edge', token: newCode() };
  const mine = { version: 1, token: world.adminToken, secrets: world.secrets } as const;
  const ask = world.fetch('oidc');
  const recipient = await identityToRecipient(identity);
  process.env.XDG_STATE_HOME = work;
  const { operator, opsKeys } = await newOperator();
  const data = userData({ ...launch, recipient, opsKeys, enrolmentUrl: proxy + ENROL_PATH });
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
        const { bundle, close: end } = await takeBundle(
          proxy,
          { ...expected, waitSeconds: 60, detail: () => {} },
          mine,
          ask,
        );
        await end();
        const where = { instance: 'i-at-the-edge', address: box.addresses.v4, user: 'owner@example.com', recipient };
        await waitForLine(box, READY);
        const other = { ...bundle, ssh: { ...bundle.ssh, hostKeys: [`ssh-ed25519 ${'A'.repeat(68)}`] } };
        await t.throwsAsync(recordElsewhere(other, { ...where, opsKey: operator }), {
          message: /shows another host key/,
        });
        t.throws(() => readRecord('i-at-the-edge'), { message: /no instance is called/ });
        await recordElsewhere(bundle, { ...where, opsKey: operator });
        t.like(await perform(readRecord('i-at-the-edge'), 'status', {}), { instanceId: 'i-at-the-edge' });
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
