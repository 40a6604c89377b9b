import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { rotationSchema } from '../../src/contract/ops.ts';
import { BuildError } from '../../src/process/errors.ts';
import { openCode, type Parties, revoke, rotate, rotationOf } from '../../src/rotate/rotate.ts';
import { Owner } from '../../src/verify/owner.ts';
import { waitForLine } from '../../src/verify/stages/ready.ts';
import type { ContainerTarget } from '../../src/verify/targets/container.ts';
import { cutCodes } from '../cut-codes.ts';
import { userData } from '../image.ts';
import { keys, LIVE, LIVE_LIMIT_MS, network, withBox } from './boxes.ts';
import { APP_PORT, type Gate, LIFE_MS, openWebSocket, ping, startLoad, statusOf } from './load.ts';

// The code of a box changes while its owner uses it. This machine is auth proxy and operator.

const OVERLAP_S = LIFE_MS / 1000 + 12;
/** The box looks every five seconds, and once more when it has ended what an old code let in. */
const ENDED_MS = 40_000;

interface Scene {
  box: ContainerTarget;
  gate: Gate;
  parties: Parties;
  /** The code in the registry. */
  now: () => string;
  /** One raw request to the box's verb. */
  step: (args: Record<string, unknown>) => Promise<unknown>;
}

async function withScene(name: string, body: (scene: Scene) => Promise<void>): Promise<void> {
  const owner = await Owner.create({ mode: 'direct', sources: [await network.hostAddress()] });
  const instanceId = `i-${name}`;
  const launch = { ...owner.launch, version: 1, launchId: name, userKeys: [keys.one] };
  await withBox({ instanceId, userData: userData(launch) }, async (box) => {
    await waitForLine(box, LIVE, LIVE_LIMIT_MS);
    const console = await waitForLine(box, /clawdy: bundle end/);
    const { code, certificate } = await owner.open(console, name, instanceId);
    let registered = code;
    const gate = { address: box.addresses.v4, certificate, client: owner.client, code: () => registered };
    await box.put('/var/tmp/load-app', readFileSync(join(import.meta.dirname, 'load-app.py')), '0755');
    await box.exec(`systemd-run --quiet --uid=7860 --gid=7860 /var/tmp/load-app ${APP_PORT}`);
    // By the socket that sshd's relay uses; test/container/ops.test.ts goes the whole way.
    const relay = 'setpriv --reuid=7863 --regid=7863 --clear-groups /usr/lib/clawdy/ops/relay';
    const step = async (args: Record<string, unknown>) => {
      const request = Buffer.from(JSON.stringify({ verb: 'rotate-auth-code', args })).toString('base64');
      const { stdout } = await box.exec(`echo ${request} | base64 -d | ${relay}`);
      const answer = JSON.parse(stdout);
      if (!answer.ok) throw new BuildError('box', answer.error, '');
      return answer.result;
    };
    const instance_key = (await box.exec('cat /var/lib/clawdy/state/keys/instance.pub')).stdout;
    const parties: Parties = {
      ...{ instance: { instance_id: instanceId, instance_key }, ask: step, identity: owner.identity },
      registered: async () => registered,
      register: async (next) => {
        registered = next;
      },
      use: (next) => statusOf(gate, next).catch(() => undefined),
    };
    await body({ box, gate, parties, now: () => registered, step });
  });
}

const phase = async ({ parties }: Scene) => (await rotationOf(parties)).phase;

async function ended(t: ExecutionContext, scene: Scene): Promise<void> {
  const end = Date.now() + ENDED_MS;
  while ((await phase(scene)) !== 'none' && Date.now() < end) await sleep(1000);
  t.is(await phase(scene), 'none');
}

const quick = { overlapSeconds: OVERLAP_S, pollMs: 300, seenMs: 20_000 };

test('three rotations and five reloads under load of every kind: no request fails, and each old code ends', (t) =>
  withScene('load', async (scene) => {
    const { box, gate, parties, now } = scene;
    const reload = async () => t.is((await box.exec('systemctl reload clawdy-gate.service')).exitCode, 0);
    const load = startLoad(gate);
    t.teardown(load.stop);
    for (let round = 0; round < 3; round++) {
      const old = now();
      // Whoever never takes another code: one in the worker that is old by the end, and one in the newest.
      const kept = [await openWebSocket(gate, old)];
      await reload();
      kept.push(await openWebSocket(gate, old));
      t.truthy((await rotate(parties, quick)).secondsLeft);
      t.not(now(), old);
      if (round < 2) await reload();
      for (const socket of kept) await ping(socket);
      t.deepEqual([await statusOf(gate, old), await statusOf(gate, now())], [200, 200], 'both count in the overlap');
      await ended(t, scene);
      t.deepEqual([await statusOf(gate, old), await statusOf(gate, now())], [401, 200]);
      for (const socket of kept) await t.throwsAsync(ping(socket), { message: /was closed/ });
    }
    await load.stop();
    t.log(load.kinds.map(({ name, done }) => `${name}: ${done}`).join(', '));
    for (const { name, done, failures } of load.kinds) {
      t.true(done > 10, `${name}: only ${done}`);
      t.deepEqual(failures, [], name);
    }
    t.is((await box.exec(`pgrep -c -u clawdy-gate haproxy`)).stdout.trim(), '2', 'old workers end with it');
  }));

test('a rotation that isn’t finished loses nobody their way in, and no step is taken out of order', (t) =>
  withScene('steps', async (scene) => {
    const { box, gate, parties, now, step } = scene;
    const first = now();
    const refused = (args: Record<string, unknown>, message: RegExp) => t.throwsAsync(step(args), { message });
    await refused({ step: 'commit', rotation: 'x'.repeat(12) }, /none is going on/);
    for (const args of [{}, { step: 'go' }, { step: 'status', rotation: 'x' }, { step: 'status', nonce: 'a b' }])
      await refused(args, /rotate-auth-code takes/);

    // Prepared, and its operator never came back: it is dropped.
    let prepared = await rotationFrom(step({ step: 'prepare' }));
    t.like(prepared, { phase: 'prepared', seen: false, current: { rotation: null } });
    await refused({ step: 'prepare' }, /a rotation is prepared already/);
    await refused({ step: 'commit', rotation: prepared.rotation }, /no such rotation to commit: prepared/);
    await refused({ step: 'announce', rotation: 'x'.repeat(12) }, /no such rotation/);
    await box.exec('echo 0 >/run/clawdy/codes.deadline');
    await ended(t, scene);
    t.is(await statusOf(gate, first), 200);

    // Announced, and not used by anybody yet: it stays, over a restart of the gate, and time doesn't end it.
    prepared = await rotationFrom(step({ step: 'prepare' }));
    const { rotation } = prepared;
    // A worker that wasn't told of it is, before the registry may have it.
    const forget = `import socket
s = socket.socket(socket.AF_UNIX)
s.connect("/run/clawdy-gate/admin.sock")
s.sendall(b"experimental-mode on; set var proc.code_b expr str(none)\\n")
s.recv(99)`;
    t.is((await box.exec(`python3 -I -c '${forget}'`)).exitCode, 0);
    await refused({ step: 'commit', rotation }, /no such rotation to commit/);
    t.is((await rotationFrom(step({ step: 'announce', rotation }))).phase, 'announced');
    await refused({ step: 'commit', rotation }, /no request with the new code/);
    const next = await openCode(parties, rotation as string, prepared.sealedCode as string);
    t.is(await statusOf(gate, next), 200);
    await box.exec('echo 0 >/run/clawdy/codes.deadline; systemctl restart clawdy-gate.service');
    await sleep(7_000);
    t.is(await phase(scene), 'announced');

    // Who goes on finds the same code, and takes it from there. What is in use isn't dropped.
    const slow = rotate(parties, { ...quick, overlapSeconds: 3600 });
    const { secondsLeft } = await slow;
    t.true(secondsLeft > 3500);
    t.is((await rotationOf(parties)).rotation, rotation);
    await refused({ step: 'abort', rotation }, /no such rotation to abort: committed/);
    const second = now();
    t.deepEqual([await statusOf(gate, first), await statusOf(gate, second)], [200, 200]);
    // As when power goes: no WebSocket has survived it, and the registry has the new code.
    await box.exec('rm /run/clawdy/codes.deadline; systemctl restart clawdy-gate.service');
    await ended(t, scene);
    t.deepEqual([await statusOf(gate, first), await statusOf(gate, second)], [401, 200]);

    // In use: only a commit or a revocation ends it.
    prepared = await rotationFrom(step({ step: 'prepare' }));
    await step({ step: 'announce', rotation: prepared.rotation });
    await rotate({ ...parties, register: async () => {}, use: async () => {} }, { ...quick, seenMs: 0 }).catch(
      () => {},
    );
    await step({ step: 'abort', rotation: prepared.rotation });
    await ended(t, scene);
    t.is(await statusOf(gate, second), 200);

    // Used, it isn't dropped: neither by abort nor by time, and a reload changes nothing about that.
    prepared = await rotationFrom(step({ step: 'prepare' }));
    t.is(
      await statusOf(gate, await openCode(parties, prepared.rotation as string, prepared.sealedCode as string)),
      200,
    );
    await box.exec('echo 0 >/run/clawdy/codes.deadline; systemctl reload clawdy-gate.service');
    await sleep(7_000);
    t.is(await phase(scene), 'prepared');
    await refused({ step: 'abort', rotation: prepared.rotation }, /in use/);
    await rotate(parties, { ...quick, overlapSeconds: 0 });
    await ended(t, scene);
    const third = now();
    t.deepEqual([await statusOf(gate, second), await statusOf(gate, third)], [401, 200]);

    const socket = await openWebSocket(gate, third);
    await revoke(parties);
    t.deepEqual([await statusOf(gate, third), await statusOf(gate, now())], [401, 200]);
    await t.throwsAsync(ping(socket), { message: /was closed/ });
    await ended(t, scene);
    // A reload reads what counts.
    await box.exec('systemctl reload clawdy-gate.service');
    t.deepEqual([await statusOf(gate, third), await statusOf(gate, now())], [401, 200]);

    // The agent has used up what there is of inodes: a code ends all the same, by time and at once.
    const sealed = '/var/lib/clawdy/state/sealed';
    const full = `mkdir /run/few && mount -t tmpfs -o nr_inodes=5,mode=0700 none /run/few && cp -a ${sealed}/. /run/few/ && mount --bind /run/few ${sealed}`;
    t.like(await box.exec(full), { exitCode: 0 });
    t.not((await box.exec(`touch ${sealed}/more`)).exitCode, 0, 'no file more');
    const fourth = now();
    await rotate(parties, { ...quick, overlapSeconds: 0 });
    await ended(t, scene);
    t.deepEqual([await statusOf(gate, fourth), await statusOf(gate, now())], [401, 200]);
    const fifth = now();
    await revoke(parties);
    t.deepEqual([await statusOf(gate, fifth), await statusOf(gate, now())], [401, 200]);
    // Nothing of a code is anywhere on the box.
    for (const code of [first, second, third, fourth, fifth, now()])
      t.is((await box.exec(`grep -rlF -- ${code} /var/lib/clawdy /var/log /run /etc /tmp || :`)).stdout, '');
  }));

async function rotationFrom(result: Promise<unknown>) {
  return rotationSchema.parse(JSON.parse(((await result) as { body: string }).body));
}

// Minutes; test/e2e/rotation-power-cut.test.ts does the same to a machine.
if (process.env.CLAWDY_FULL === '1')
  test('cut anywhere in a rotation, then without power for a moment: the registry’s code gets in', (t) =>
    withScene('cut', async ({ box, gate, now, step, parties }) => {
      await box.put('/var/tmp/cut', cutCodes('os._exit(99)'), '0644');
      const old = now();
      // systemd takes no more than five starts in ten seconds, which no machine makes by losing power.
      const restart = 'systemctl reset-failed clawdy-gate.service; systemctl restart clawdy-gate.service';
      /** What a power cut takes: what is in /run, and every process. */
      const power = `rm -f /run/clawdy/codes.*; ${restart}`;
      const keep = '/var/lib/clawdy/state/sealed/codes.json';
      const within = (seconds: number) =>
        `echo $(($(cut -d. -f1 /proc/uptime) + ${seconds})) >/run/clawdy/codes.deadline`;
      let points = 0;
      /** @param seconds that are left of the phase in which it is cut. */
      const cutAll = async (
        command: string,
        input: Record<string, unknown>,
        seconds: number,
        check: () => Promise<unknown>,
        before: () => Promise<unknown> = async () => {},
        after = power,
      ) => {
        await box.exec(`cp ${keep} /var/tmp/kept 2>/dev/null || rm -f /var/tmp/kept`);
        const back = `systemctl stop clawdy-codes.timer; if [ -e /var/tmp/kept ]; then cp /var/tmp/kept ${keep}; else rm -f ${keep}; fi`;
        const request = Buffer.from(JSON.stringify(input)).toString('base64');
        for (let at = 1; ; at++) {
          await box.exec(within(seconds));
          await before();
          const { exitCode } = await box.exec(`echo ${request} | base64 -d | python3 -I /var/tmp/cut ${at} ${command}`);
          if (exitCode === 0) break;
          t.is(exitCode, 99);
          points++;
          await box.exec(after);
          await check();
          await box.exec(`${back}; ${within(999)}; ${restart}`);
        }
      };
      const counts = async (code: string) => t.is(await statusOf(gate, code), 200);
      await cutAll('step', { step: 'prepare' }, 999, () => counts(old));
      const { rotation, sealedCode } = await rotationFrom(step({ step: 'status' }));
      const code = await openCode(parties, rotation as string, sealedCode as string);
      await cutAll('step', { step: 'announce', rotation }, 999, () => counts(old));
      const commit = { step: 'commit', rotation, overlapSeconds: 3600 };
      await cutAll(
        'step',
        commit,
        999,
        () => counts(code),
        () => counts(code),
      );
      await cutAll('tick', {}, 0, () => counts(code));
      t.is(await statusOf(gate, old), 401);
      // A revocation that was cut is made again; the process alone, or the machine.
      const again = async () => {
        await revoke(parties);
        await counts(now());
      };
      for (const after of [power, 'true']) await cutAll('step', { step: 'revoke' }, 0, again, undefined, after);
      t.log(`${points} places`);
      t.true(points >= 40, `${points}`);
    }));
