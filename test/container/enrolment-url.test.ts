import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import test from 'ava';
import { enrolRequestSchema, isEnrolProof } from '../../src/contract/enrolment.ts';
import { bundleFromConsole } from '../../src/launch/console-bundle.ts';
import { waitForLine } from '../../src/verify/stages/ready.ts';
import type { ContainerTarget } from '../../src/verify/targets/container.ts';
import { ROOT, userData } from '../image.ts';
import { peer, settled, TOKEN, withBox, work } from './boxes.ts';

// The sealed bundle goes to the URL that launch.json names, and nowhere else.

const launch = { recipient: '', token: TOKEN };
test.before(async () => {
  launch.recipient = await identityToRecipient(await generateX25519Identity());
});

/** Starts test/attacks/enrolment-server on the peer. @returns its address and how to learn what it was sent. */
async function serve(port: number, answers: string): Promise<{ url: string; requests: () => Promise<unknown[]> }> {
  const script = readFileSync(join(ROOT, 'test', 'attacks', 'enrolment-server'), 'utf8');
  await peer.put('/var/tmp/enrolment-server', script, '0755');
  const made =
    await peer.exec(`cd /var/tmp && { [ -e tls.pem ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
    -keyout tls.key -out tls.pem -days 1 -subj /CN=enrolment -addext subjectAltName=IP:${peer.addresses.v4}; } 2>/dev/null
    setsid ./enrolment-server ${port} ${answers} >requests.${port} 2>errors.${port} </dev/null &
    for try in $(seq 50); do ss -Hltn sport = :${port} | grep -q . && exit 0; sleep 0.1; done; cat /var/tmp/errors.${port}; exit 1`);
  if (made.exitCode !== 0) throw new Error(made.stdout + made.stderr);
  return {
    url: `https://${peer.addresses.v4}:${port}/enrol`,
    requests: async () =>
      (await peer.exec(`cat /var/tmp/requests.${port}`)).stdout
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line) as unknown),
  };
}

const TRIED = 'success\ninactive\n';

/** How the tries have ended, once they have. */
async function tried(box: ContainerTarget): Promise<string> {
  const look = 'systemctl show -P Result -P ActiveState clawdy-enrol.service';
  return (
    await box.exec(
      `for _ in $(seq 60); do systemctl is-active --quiet clawdy-enrol.service || break; sleep 1; done; ${look}`,
    )
  ).stdout;
}

/** Lets a box trust the peer's certificate, before it boots. */
async function trusting(): Promise<[string, { target: string; source: string }]> {
  const source = join(work, 'enrolment.crt');
  writeFileSync(source, (await peer.exec('cat /var/tmp/tls.pem')).stdout);
  return ['update-ca-certificates >/dev/null', { target: '/usr/local/share/ca-certificates/enrolment.crt', source }];
}

test.serial(
  'the bundle is sent until it is acknowledged, never to where a redirect points, and then no more',
  async (t) => {
    const server = await serve(8443, '302 huge 500 200 409');
    const [spoil, file] = await trusting();
    const data = userData({ ...launch, enrolmentUrl: server.url });
    const state = join(work, 'enrolled.tar');
    await withBox(
      { asleep: true, spoil, userData: data },
      async (box) => {
        const console = await waitForLine(box, /clawdy: enrolled at/);
        const failures = console.match(/clawdy: enrolment at .*/g) ?? [];
        t.is(failures.length, 1, 'one line for a person');
        t.regex(failures[0] as string, /failed: HTTP 302; it is tried again/);
        t.false(console.includes(TOKEN));
        const journal = (await box.exec('journalctl --boot --output=cat --unit=clawdy-enrol')).stdout;
        t.regex(journal, /failed: an answer of more than 64 KiB/);
        t.regex(journal, /failed: HTTP 500/);

        const requests = await server.requests();
        t.is(requests.length, 4);
        for (const request of requests as { path: string; body: unknown }[]) {
          t.is(request.path, '/enrol');
          const sent = enrolRequestSchema.parse(request.body);
          const sealed = Buffer.from(sent.bundle, 'base64');
          t.deepEqual(sealed, bundleFromConsole(console));
          const sha256 = createHash('sha256').update(sealed).digest('hex');
          t.like(sent, { launchId: 'test-launch', instanceId: 'i-container' });
          t.true(await isEnrolProof(TOKEN, sent, sha256));
          t.false(await isEnrolProof(TOKEN, { ...sent, instanceId: 'i-other' }, sha256));
          t.is((await box.exec('cat /var/lib/clawdy/state/enrolled')).stdout.trim(), sha256);
        }
        const { stdout } = await box.exec('tar -C /var/lib/clawdy -cf - state | base64 -w 0');
        writeFileSync(state, Buffer.from(stdout, 'base64'));

        // It forgets, and asks once more: 409, the server has the bundle already, ends the tries.
        await box.exec('rm /var/lib/clawdy/state/enrolled && systemctl restart clawdy-enrol.service');
        t.is(await tried(box), TRIED);
        t.is((await server.requests()).length, 5);
        const enrolled = (await box.exec('journalctl --boot --output=cat --unit=clawdy-enrol')).stdout;
        t.is(enrolled.match(/clawdy: enrolled at/g)?.length, 2);
        t.notRegex(enrolled, /HTTP 409/);
      },
      file,
    );
    const again = 'mkdir -p /var/lib/clawdy && tar -C /var/lib/clawdy -xpf /var/tmp/state.tar';
    await withBox(
      { asleep: true, spoil: again, userData: data },
      async (box) => {
        await settled(box);
        t.is(await tried(box), TRIED);
        t.notRegex(await box.console(), /clawdy: (bundle|enrol)/);
        t.is((await server.requests()).length, 5);
      },
      { target: '/var/tmp/state.tar', source: state },
    );
  },
);

test.serial('nothing is sent to a server whose certificate the box doesn’t trust', async (t) => {
  const server = await serve(8445, '200');
  await withBox({ asleep: true, userData: userData({ ...launch, enrolmentUrl: server.url }) }, async (box) => {
    t.regex(await waitForLine(box, /clawdy: enrolment at/), /failed: self-signed certificate/);
    t.deepEqual(await server.requests(), []);
  });
});
