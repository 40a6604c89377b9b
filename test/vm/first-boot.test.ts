import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { OPENCLAW_PORT, SSH_PORTS } from '../../src/contract/box.ts';
import { GATE_PORT } from '../../src/contract/gate.ts';
import { probeAccelerator } from '../../src/doctor/accelerator.ts';
import { BuildError } from '../../src/process/errors.ts';
import { type Lab, openLab } from '../../src/verify/lab/lab.ts';
import type { Peer } from '../../src/verify/lab/namespaces.ts';
import { type PortRange, scanPorts } from '../../src/verify/lab/scan.ts';
import { trouble } from '../../src/verify/lab/trouble.ts';
import type { Vm } from '../../src/verify/lab/vm.ts';
import { Owner } from '../../src/verify/owner.ts';
import { CLOUDFLARE, routeTo } from '../../src/verify/stages/vm.ts';
import { VmPeer } from '../../src/verify/targets/vm.ts';
import { ROOT, userData } from '../image.ts';
import { CHECKED, DISK, LIMITS, LIVE, LIVE_CHECKED, secretsOf, waitReady } from './machine.ts';

let lab: Lab;
let one: Vm;
let two: Vm;
let ssh: { port: number; hostKey: string };
let publicKey = '';
let owner: Owner;
let stranger: Peer;
let ownerAtCloudflare: Owner;
/** What one scan found open. */
interface Scan {
  family: 'v4' | 'v6';
  open: number[];
}
/** Scans that were over before the box said that its checks had passed; the second from the proxy's address. */
let early: Promise<Scan[]>;
let earlyAtGate: Promise<Scan[]>;
/** Where OpenClaw isn't waited for, the scans of 443 end here. */
let enoughOfGate = false;
const GATE = { first: GATE_PORT, last: GATE_PORT };
const OPENABLE = [{ first: OPENCLAW_PORT, last: OPENCLAW_PORT + 9 }, SSH_PORTS];
/** `make test-full`, and wherever a machine doesn't take minutes to start OpenClaw. */
const WITH_OPENCLAW = process.env.CLAWDY_FULL === '1' || (await probeAccelerator()) === 'kvm';
/** Between two scans, for the machine under emulation. */
const PAUSE_MS = 5000;
const KEY = '/var/tmp/owner';
/** RFC 5737 and 3849: addresses of nobody's. */
const BANNED = ['198.51.100.9', '2001:db8:1:2::9'] as const;
const INSTANCE_ID = 'i-one';
/** As test/image.ts sets it. */
const LAUNCH_ID = 'test-launch';

test.before(async () => {
  lab = await openLab();
  const attacker = lab.peer('attacker');
  await attacker.exec('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'owner', '-f', KEY]);
  publicKey = (await attacker.exec('cat', [`${KEY}.pub`])).stdout.trim();
  // The attacker is also the auth proxy, for what is open to the proxy alone; the stranger is neither.
  owner = await Owner.create({ mode: 'direct', sources: [attacker.v4, attacker.v6] });
  ownerAtCloudflare = await Owner.create({ mode: 'cloudflare' }, { hosts: ['localhost', 'two.example.com'] });
  stranger = await lab.addPeer('stranger');
  // Side by side: under emulation a boot hardly uses more than one core.
  [one, two] = await Promise.all([
    lab.bootVm({
      disk: DISK,
      name: 'one',
      userData: userData({ ...owner.launch, userKeys: [publicKey] }),
      metaData: { 'instance-id': INSTANCE_ID },
      diskGiB: 6,
    }),
    lab.bootVm({
      disk: DISK,
      name: 'two',
      userData: userData({ ...ownerAtCloudflare.launch, userKeys: [publicKey] }),
      metaData: { 'instance-id': 'i-two' },
      firmware: 'uefi',
    }),
  ]);
  early = scanUntil(() => CHECKED.test(one.console()), stranger, [{ first: 1, last: 1024 }, ...OPENABLE]);
  earlyAtGate = scanUntil(() => enoughOfGate || LIVE_CHECKED.test(one.console()), attacker, [GATE]);
  ssh = await waitReady(one);
});

/**
 * Scans ports of the first machine, both families in turn, until that is said, or it is off.
 * @returns what each scan found that was over by then.
 */
async function scanUntil(said: () => boolean, peer: Peer, ports: readonly PortRange[]): Promise<Scan[]> {
  const found: Scan[] = [];
  const over = () => !one.on || said();
  for (let round = 0; !over(); round++) {
    try {
      const family = round % 2 ? 'v6' : 'v4';
      const open = await scanPorts(peer, one.addresses[family], ports);
      if (!over()) found.push({ family, open });
    } catch (error) {
      // Without a network nobody answers for the address, and nmap judges nothing.
      if (!(error instanceof BuildError && error.message.includes('judged 0 of'))) throw error;
    }
    await sleep(PAUSE_MS);
  }
  return found;
}

/** OpenClaw answers and the live selfcheck has passed. */
const live = () => one.waitForConsole(LIVE, LIMITS.live);

test.after.always(() => lab?.close());

test.serial('from power-on until it has checked itself, nothing can be reached', async (t) => {
  const scans = await early;
  for (const family of ['v4', 'v6']) t.true(scans.filter((scan) => scan.family === family).length >= 1, family);
  t.deepEqual(
    scans.flatMap(({ open }) => open),
    [],
  );
});

test.serial('first boot draws a port from the range and says so on the console', (t) => {
  t.true(ssh.port >= SSH_PORTS.first && ssh.port <= SSH_PORTS.last, String(ssh.port));
});

test.serial('a second first boot, by UEFI, shares no secret, key, port or ID with the first', async (t) => {
  const other = await waitReady(two);
  t.not(other.port, ssh.port);
  t.not(other.hostKey, ssh.hostKey);
  const [mine, theirs] = [await secretsOf(one), await secretsOf(two)];
  t.true(mine.size >= 6, [...mine.keys()].join('\n'));
  t.true(mine.has('/etc/machine-id') && mine.has('/var/lib/clawdy/state/ssh/port'), [...mine.keys()].join('\n'));
  const shared = [...mine].filter(([path, digest]) => theirs.get(path) === digest).map(([path]) => path);
  t.deepEqual(shared, []);
  // Its turn is the last, if it comes.
  await (WITH_OPENCLAW ? two.pause() : two.close());
});

for (const family of ['v4', 'v6'] as const) {
  test.serial(`a scan of all 65,535 ports over ${family} finds SSH's random port and nothing else`, async (t) => {
    t.deepEqual(await scanPorts(stranger, one.addresses[family]), [ssh.port]);
  });
}

test.serial('the owner logs in by key on that port, at the host key that the console showed', async (t) => {
  const attacker = lab.peer('attacker');
  const scan = await attacker.exec('ssh-keyscan', ['-p', String(ssh.port), '-t', 'ed25519', one.addresses.v4]);
  await attacker.put('/var/tmp/known', scan.stdout, '0600');
  const shown = await attacker.exec('ssh-keygen', ['-l', '-f', '/var/tmp/known']);
  t.true(shown.stdout.includes(ssh.hostKey), `${shown.stdout} ${ssh.hostKey}`);
  const options = [
    'BatchMode=yes',
    'StrictHostKeyChecking=yes',
    'UserKnownHostsFile=/var/tmp/known',
    'ConnectTimeout=20',
  ];
  const login = (user: string) =>
    attacker.exec('ssh', [
      '-i',
      KEY,
      '-p',
      String(ssh.port),
      ...options.flatMap((o) => ['-o', o]),
      `${user}@${one.addresses.v4}`,
      'id -un; id -u; cat /proc/self/status',
    ]);
  const owner = await login('clawdy');
  t.is(owner.exitCode, 0, owner.stderr);
  t.regex(owner.stdout, /^clawdy\n7860\n/);
  t.regex(owner.stdout, /NoNewPrivs:\s+1/);
  t.not((await login('root')).exitCode, 0);
});

test.serial('the state partition filled the disk, and carries no setuid and no devices', async (t) => {
  const { stdout } = await one.exec(
    'findmnt -no OPTIONS,FSTYPE /var/lib/clawdy; df --output=size -BM /var/lib/clawdy | tail -1',
  );
  t.regex(stdout, /nosuid/);
  t.regex(stdout, /nodev/);
  // A 6 GiB disk, of which root and boot take 3 GiB and 64 MiB.
  t.true(Number(/(\d+)M/.exec(stdout)?.[1]) > 2500, stdout);
});

test.serial("443 stays shut also to the proxy's address until OpenClaw has been checked too", async (t) => {
  if (WITH_OPENCLAW) await live();
  enoughOfGate = true;
  const scans = await earlyAtGate;
  for (const family of ['v4', 'v6']) t.true(scans.filter((scan) => scan.family === family).length >= 5, family);
  t.deepEqual(
    scans.flatMap(({ open }) => open),
    [],
  );
});

test.serial('nothing failed, and the console of the boot shows no trouble', async (t) => {
  t.deepEqual(trouble(one.console()), []);
  t.is((await one.exec('systemctl list-units --failed --no-legend --plain')).stdout.trim(), '');
});

/** How many bans of ours fail2ban would still know after a reboot. */
async function remembered(): Promise<number> {
  const query = `select count(*) from bans where ip in ('${BANNED.join("', '")}')`;
  const file = '/var/lib/clawdy/state/fail2ban/fail2ban.sqlite3';
  const { stdout } = await one.exec(
    `python3 -Ic 'import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone())' ${file} "${query}"`,
  );
  return Number(stdout);
}

// OpenClaw takes long under emulation. Containers show these at every `make test`.
if (WITH_OPENCLAW) {
  test.serial('OpenClaw answers on loopback, and only there', async (t) => {
    await live();
    const ready = await one.exec(
      'python3 -c "import urllib.request as u; print(u.urlopen(\'http://127.0.0.1:7860/readyz\').status)"',
    );
    t.is(ready.stdout.trim(), '200', ready.stderr);
    const sockets = await one.exec('ss -Hltn "sport = :7860"');
    t.true(
      sockets.stdout
        .split('\n')
        .filter(Boolean)
        .every((line) => /127\.0\.0\.1:7860|\[::1\]:7860/.test(line)),
      sockets.stdout,
    );
    t.true(sockets.stdout.includes('127.0.0.1:7860'));
  });

  for (const family of ['v4', 'v6'] as const) {
    test.serial(
      `once OpenClaw answers, the proxy's address gets SSH and 443 over ${family}, any other SSH alone`,
      async (t) => {
        await live();
        const ports = [GATE, SSH_PORTS];
        t.deepEqual(await scanPorts(lab.peer('attacker'), one.addresses[family], ports), [GATE_PORT, ssh.port]);
        t.deepEqual(await scanPorts(stranger, one.addresses[family], ports), [ssh.port]);
      },
    );
  }

  test.serial('a reboot ends in the same state', async (t) => {
    await live();
    const before = await secretsOf(one);
    for (const jail of ['sshd', 'clawdy-gate']) {
      // Longer than any reboot here takes.
      await one.exec(`fail2ban-client set ${jail} bantime 1d && fail2ban-client set ${jail} banip ${BANNED.join(' ')}`);
    }
    // fail2ban writes its database some time after it said yes (server/actions.py: "observer writes ban to database (asynchronous)").
    for (let tries = 0; (await remembered()) < 2 * BANNED.length && tries < 60; tries++) await sleep(500);
    t.is(await remembered(), 2 * BANNED.length);
    await two.resume();
    await one.reboot();
    t.deepEqual(await waitReady(one), ssh);
    const after = await secretsOf(one);
    for (const [path, digest] of before) {
      if (!path.includes('/var/lib/systemd/')) t.is(after.get(path), digest, path);
    }
    await one.waitForConsole(LIVE, LIMITS.live);
    t.deepEqual(await scanPorts(lab.peer('attacker'), one.addresses.v4, [GATE, ...OPENABLE]), [GATE_PORT, ssh.port]);
    t.deepEqual(await scanPorts(stranger, one.addresses.v4, [GATE, ...OPENABLE]), [ssh.port]);
    for (const where of ['nft list table inet clawdy_bans', 'cat /run/clawdy/fail2ban/gate.lst']) {
      const bans = (await one.exec(where)).stdout;
      t.true(bans.includes(BANNED[0]) && bans.includes('2001:db8:1:2::/64'), bans);
    }
    t.deepEqual(trouble(one.console()), []);
    await one.close();
  });

  test.serial("mode cloudflare: Cloudflare's addresses get SSH and 443, any other SSH alone, IPv6 alike", async (t) => {
    await two.waitForConsole(LIVE, LIMITS.live);
    const edge = await lab.addPeer('edge', undefined, CLOUDFLARE);
    const asked = new VmPeer(edge);
    await two.exec(routeTo(asked, lab.host.v4));
    const { port } = await waitReady(two);
    for (const family of ['v4', 'v6'] as const) {
      t.deepEqual(await scanPorts(edge, two.addresses[family], [GATE, SSH_PORTS]), [GATE_PORT, port], family);
      t.deepEqual(await scanPorts(stranger, two.addresses[family], [GATE, SSH_PORTS]), [port], family);
    }
    t.deepEqual(trouble(two.console()), []);
    await ownerAtCloudflare.equip(asked, two.console(), LAUNCH_ID, 'i-two');
    await asked.put('/var/tmp/gate', readFileSync(join(ROOT, 'test/attacks/gate')), '0755');
    const env = { TARGET: two.addresses.v4, TARGET6: two.addresses.v6 };
    const ask = async (words: string) => (await asked.exec(`/var/tmp/gate ${words} /readyz`, { env })).stdout.trim();
    for (const family of ['', '-6 ']) {
      t.is(await ask(`${family}--header CF-Connecting-IP:203.0.113.5`), 'outcome: http:200');
      t.is(await ask(`${family}--header CF-Connecting-IP:203.0.113.5 --code none`), 'outcome: http:401');
      t.is(await ask(`${family}--header CF-Connecting-IP:203.0.113.5 --certificate foreign`), 'outcome: denied');
    }
  });
}
