import { setTimeout as sleep } from 'node:timers/promises';
import autocannon from 'autocannon';
import { userDataOf } from '../launch/launch-json.ts';
import { BuildError } from '../process/errors.ts';
import type { Progress } from '../process/progress.ts';
import { Owner } from '../verify/owner.ts';
import { imageTag } from '../verify/stages/container.ts';
import { stopChecks, waitForLine } from '../verify/stages/ready.ts';
import { ContainerNetwork, ContainerTarget } from '../verify/targets/container.ts';
import { compare, type GateBench, type Pace } from './pace.ts';

/** Milliseconds for OpenClaw's first start, as for claims. */
const LIVE_LIMIT_MS = 180_000;
const LAUNCH_ID = 'bench-gate';
const INSTANCE_ID = 'i-bench';
/** Kept-alive connections at a time: what an auth proxy holds for a handful of people. */
const CONNECTIONS = 32;
/**
 * Of one processor, for the door and what is behind it: whoever asks needs several times as much for a request as HAProxy,
 * and would be what is measured.
 */
const SHARE = 0.3;
const STEP = 'bench gate';

/** Stands where OpenClaw does, and answers at once: a backend that thinks would hide what the gate costs. */
const BACKEND = `defaults
  mode http
  timeout client 75s
  timeout server 75s
  timeout connect 5s
frontend backend
  bind 127.0.0.1:7860
  http-request return status 200 content-type text/plain string "ok"
`;

/** What a TLS proxy in front of it needs and nothing else: the same certificates, the same clients asked for theirs. */
const BARE = `global
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode http
  timeout client 75s
  timeout server 75s
  timeout connect 5s
frontend bare
  bind :443 ssl crt /run/clawdy/gate/origin.pem ca-file /run/clawdy/gate/client-ca.pem verify required alpn h2,http/1.1
  default_backend openclaw
backend openclaw
  server openclaw 127.0.0.1:7860 maxconn 1000
`;

/** Who answers on 443, and how it is put there. */
const DOORS = {
  gate: { start: 'systemctl start clawdy-gate.service', stop: 'systemctl stop clawdy-gate.service' },
  bare: { start: daemon('bench-bare'), stop: 'systemctl stop bench-bare.service' },
} as const;

/** haproxy as a service of its own, as the gate is one; `-Ws` says when it listens. */
function daemon(name: string): string {
  return `systemd-run --quiet --collect --unit=${name} --property=Type=notify --property=LimitNOFILE=16384 haproxy -Ws -f /var/tmp/${name}.cfg`;
}

/**
 * The gate beside a bare HAProxy with TLS, in one box in front of one backend, by turns.
 *
 * @param imageDir folder of a finished image.
 * @param rounds how often each is measured; the medians count.
 * @param seconds that each measurement takes.
 * @throws BuildError when the box doesn't come up, or a request fails: such a figure would mean nothing.
 */
export async function runGateBench(
  imageDir: string,
  { rounds, seconds }: { rounds: number; seconds: number },
  progress: Progress,
): Promise<GateBench> {
  const tag = await progress.step('the image as a container', () => imageTag(imageDir));
  const network = await ContainerNetwork.create();
  let box: ContainerTarget | undefined;
  try {
    const owner = await Owner.create({ mode: 'direct', sources: [await network.hostAddress()] });
    const userData = userDataOf({ version: 1, launchId: LAUNCH_ID, ...owner.launch });
    const target = await ContainerTarget.boot({ image: tag, network, instanceId: INSTANCE_ID, userData });
    box = target;
    const said = await progress.step('boot, until OpenClaw answers', () =>
      waitForLine(target, /clawdy: live ok/, LIVE_LIMIT_MS),
    );
    await stopChecks(target);
    const { code, certificate } = await owner.open(said, LAUNCH_ID, INSTANCE_ID);
    await target.put('/var/tmp/bench-backend.cfg', BACKEND, '0644');
    await target.put('/var/tmp/bench-bare.cfg', BARE, '0644');
    await must(target, `systemctl stop openclaw.service && ${daemon('bench-backend')} && ${DOORS.gate.stop}`);
    await target.slow(SHARE);
    const measure = (duration: number) =>
      pace({
        url: `https://${target.addresses.v4}/`,
        headers: { 'x-clawdy-code': code },
        servername: 'localhost',
        tlsOptions: { ca: certificate, cert: owner.client.certificate, key: owner.client.key },
        connections: CONNECTIONS,
        duration,
      });
    const paces: Record<keyof typeof DOORS, Pace[]> = { gate: [], bare: [] };
    for (let round = 1; round <= rounds; round++) {
      // Whoever goes first finds a machine that has just rested: by turns.
      const order = round % 2 ? (['gate', 'bare'] as const) : (['bare', 'gate'] as const);
      for (const door of order) {
        await progress.step(`round ${round} of ${rounds}: ${door}`, async () => {
          await must(target, DOORS[door].start);
          // Until the gate's own check has seen the backend; both then have met the clients.
          await sleep(3000);
          await measure(1);
          const measured = await measure(seconds);
          paces[door].push(measured);
          progress.say(`  ${door}: ${measured.rps} requests/s, p99 ${measured.p99_ms} ms`);
          await must(target, DOORS[door].stop);
        });
      }
    }
    return compare(paces.gate, paces.bare);
  } finally {
    await box?.close();
    await network.close();
  }
}

async function must(box: ContainerTarget, command: string): Promise<void> {
  const { exitCode, stderr } = await box.exec(command);
  if (exitCode !== 0) throw new BuildError(STEP, `in the box: ${command}`, 'see what it said', { tail: stderr });
}

/** @throws BuildError where an answer wasn't 200, or none came. */
async function pace(options: autocannon.Options): Promise<Pace> {
  const { requests, latency, errors, timeouts, non2xx } = await autocannon(options);
  if (errors + timeouts + non2xx > 0 || requests.total === 0) {
    const why = `${requests.total} answers, ${non2xx} of them refusals; ${errors} errors, ${timeouts} timeouts`;
    throw new BuildError(STEP, `not all requests were answered: ${why}`, 'run it on a machine with nothing else to do');
  }
  return { rps: requests.average, p99_ms: latency.p99 };
}
