import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { rotationSchema } from '../../src/contract/ops.ts';
import { openCode } from '../../src/rotate/rotate.ts';
import { type Lab, openLab } from '../../src/verify/lab/lab.ts';
import type { Vm } from '../../src/verify/lab/vm.ts';
import { Owner } from '../../src/verify/owner.ts';
import { cutCodes } from '../cut-codes.ts';
import { userData } from '../image.ts';
import { DISK, LIMITS, waitReady } from '../vm/machine.ts';

// Power is taken from a machine in the middle of a rotation, twenty times, each a moment later. After each boot the code that
// the registry has at that moment gets in. test/container/rotation.test.ts ends processes at more places, and has no disk.

let lab: Lab;
test.before(async () => {
  lab = await openLab();
});
test.after.always(() => lab?.close());

const CUTS = 20;
/** Says so on the console, and does nothing more. */
const HOLD = cutCodes('open("/dev/console", "w").write("\\nrotation: cut me now\\n"); time.sleep(600)');
/** An app of the agent's, which the gate passes on to; OpenClaw needs minutes to start. */
const APP =
  'systemd-run --quiet --uid=7860 --gid=7860 python3 -m http.server --bind 127.0.0.1 3000; until ss -Hltn sport = :3000 | grep -q .; do sleep 1; done';
/** Asks by root's own socket, as the selfcheck does. The code is on standard input. */
const ASK = `
import http.client, socket, sys
c = http.client.HTTPConnection("localhost", timeout=30)
c.sock = socket.socket(socket.AF_UNIX)
c.sock.connect("/run/clawdy-gate/local.sock")
c.request("HEAD", "/", headers={"X-Clawdy-Code": sys.stdin.read().strip(), "X-Clawdy-Port": "3000"})
print(c.getresponse().status)
`;

const quoted = (text: string) => Buffer.from(text).toString('base64');

async function up(vm: Vm): Promise<void> {
  await waitReady(vm);
  const end = Date.now() + LIMITS.ready;
  while ((await vm.exec('systemctl is-active clawdy-gate.service')).stdout.trim() !== 'active') {
    if (Date.now() > end) throw new Error('the gate never started');
    await sleep(2000);
  }
  await vm.exec(`${APP}; echo ${quoted(HOLD)} | base64 -d >/run/hold; echo ${quoted(ASK)} | base64 -d >/run/ask`);
}

test.serial('power goes at twenty places of a rotation; the registry’s code gets in after each', async (t) => {
  t.timeout(3 * 3_600_000);
  const owner = await Owner.create({ mode: 'direct', sources: [lab.host.v4] });
  const vm = await lab.bootVm({
    ...{ disk: DISK, name: 'rotation' },
    userData: userData({ ...owner.launch, version: 1, launchId: 'rotation' }),
  });
  const [, console] = await Promise.all([up(vm), vm.waitForConsole(/clawdy: bundle end/, LIMITS.ready)]);
  t.truthy(console);
  const instanceId = (await vm.exec('cat /run/clawdy/instance-id')).stdout.trim();
  let { code: registered } = await owner.open(await vm.console(), 'rotation', instanceId);

  const ask = async (code: string) =>
    (await vm.exec(`echo ${quoted(code)} | base64 -d | python3 -I /run/ask`)).stdout.trim();
  const send = (args: object, program: string) =>
    vm.exec(`echo ${quoted(JSON.stringify(args))} | base64 -d | ${program}`);
  const step = async (args: object) => {
    const { stdout, stderr } = await send(args, '/usr/lib/clawdy/verbs/rotate-auth-code');
    if (!stdout) throw new Error(stderr);
    return rotationSchema.parse(JSON.parse(JSON.parse(stdout).body));
  };
  let cuts = 0;
  const cut = async (command: string, args: object, at: number) => {
    const held = vm.waitForConsole(/rotation: cut me now/, 120_000).then(() => true);
    const ran = send(args, `python3 -I /run/hold ${at} ${command}`).then(({ exitCode }) => exitCode !== 0);
    // The channel into the machine ends with it.
    ran.catch(() => {});
    held.catch(() => {});
    if (!(await Promise.race([held, ran]))) return false;
    await vm.powerCut();
    await vm.powerOn();
    await up(vm);
    t.is(await ask(registered), '200', `${command} ${JSON.stringify(args)} at ${at}`);
    t.log(`${++cuts}: ${command} ${JSON.stringify(args)} at ${at}`);
    return true;
  };
  t.is(await ask(registered), '200');
  t.is(await ask('A'.repeat(43)), '401');
  // As the operator's side does it, from wherever the last cut has left the box; each time round a little further.
  for (let at = 1; cuts < CUTS; at++) {
    t.true(at < 30, 'there are not so many places');
    let now = await step({ step: 'status' });
    if (now.phase === 'none') {
      if (await cut('step', { step: 'prepare' }, at)) now = await step({ step: 'status' });
      if (now.phase === 'none') now = await step({ step: 'prepare' });
    }
    const { rotation } = now;
    const parties = { instance: { instance_id: instanceId, instance_key: null }, identity: owner.identity };
    if (now.phase === 'prepared') {
      if (cuts < CUTS && (await cut('step', { step: 'announce', rotation }, at))) now = await step({ step: 'status' });
      // A rotation that was prepared alone ends with power.
      if (now.phase === 'none') continue;
      if (now.phase === 'prepared') now = await step({ step: 'announce', rotation });
    }
    registered = await openCode(parties, rotation as string, now.sealedCode as string);
    t.is(await ask(registered), '200');
    if (cuts < CUTS) await cut('step', { step: 'commit', rotation, overlapSeconds: 0 }, at);
    now = await step({ step: 'status' });
    if (now.phase === 'announced') {
      t.is(await ask(registered), '200');
      await step({ step: 'commit', rotation, overlapSeconds: 1 });
      await sleep(1500);
    }
    if (cuts < CUTS) await cut('tick', {}, Math.max(1, at - 1));
    const end = Date.now() + 120_000;
    while ((await step({ step: 'status' })).phase !== 'none' && Date.now() < end) await sleep(2000);
    t.is(await ask(registered), '200');
  }
  t.is(cuts, CUTS);
  await vm.close();
});
