import test from 'ava';
import { OPENCLAW_PORT, SSH_PORTS } from '../../src/contract/box.ts';
import { GATE_PORT } from '../../src/contract/gate.ts';
import { BuildError } from '../../src/process/errors.ts';
import { runClaim } from '../../src/verify/claims/run-claim.ts';
import { type Lab, openLab } from '../../src/verify/lab/lab.ts';
import type { Peer } from '../../src/verify/lab/namespaces.ts';
import { scanPorts } from '../../src/verify/lab/scan.ts';
import type { Vm } from '../../src/verify/lab/vm.ts';
import { Owner } from '../../src/verify/owner.ts';
import { VmPeer, VmTarget } from '../../src/verify/targets/vm.ts';
import { claimsFor, testClaims } from '../claims.ts';
import { ROOT, userData } from '../image.ts';
import { DISK, LIMITS, LIVE, secretsOf, trouble, waitReady } from './machine.ts';

let lab: Lab;
let one: Vm;
let two: Vm;
let ssh: { port: number; hostKey: string };
let publicKey = '';
let owner: Owner;
let stranger: Peer;
/** What scans found that began and ended before the box said that it was ready. */
const early: number[][] = [];
const KEY = '/var/tmp/owner';
/** RFC 5737 and 3849: addresses of nobody's. */
const BANNED = ['198.51.100.9', '2001:db8:1:2::9'] as const;
const INSTANCE_ID = 'i-one';

test.before(async () => {
  lab = await openLab();
  const attacker = lab.peer('attacker');
  await attacker.exec('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'owner', '-f', KEY]);
  publicKey = (await attacker.exec('cat', [`${KEY}.pub`])).stdout.trim();
  // The attacker is also the auth proxy, for what is open to the proxy alone; the stranger is neither.
  owner = await Owner.create([attacker.v4, attacker.v6]);
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
    lab.bootVm({ disk: DISK, name: 'two', userData: userData({}), firmware: 'uefi' }),
  ]);
  ssh = await waitReadyScanning();
});

/** Scans what first boot might open, both families in turn, until the box is ready. */
async function waitReadyScanning(): Promise<typeof ssh> {
  let ready = false;
  const scanning = (async () => {
    for (let round = 0; !ready; round++) {
      const address = round % 2 ? one.addresses.v6 : one.addresses.v4;
      try {
        const open = await scanPorts(stranger, address, [
          { first: 1, last: 1024 },
          { first: OPENCLAW_PORT, last: OPENCLAW_PORT + 9 },
          SSH_PORTS,
        ]);
        if (!ready) early.push(open);
      } catch (error) {
        // Without a network nobody answers for the address, and nmap judges nothing.
        if (!(error instanceof BuildError)) throw error;
      }
    }
  })();
  try {
    return await waitReady(one);
  } finally {
    ready = true;
    await scanning;
  }
}

/** OpenClaw answers and the live selfcheck has passed; that moment is kept, for claims to start from. */
let liveReached: Promise<void> | undefined;
function live(): Promise<void> {
  liveReached ??= (async () => {
    await one.waitForConsole(LIVE, LIMITS.live);
    // During a claim the live selfcheck would answer the sabotage by stopping what is looked at.
    await one.exec('systemctl stop clawdy-selfcheck-live.timer');
    await owner.equip(new VmPeer(lab.peer('attacker')), one.console(), 'test-launch', INSTANCE_ID);
    await one.save('live');
  })();
  return liveReached;
}

test.after.always(() => lab?.close());

test.serial('from power-on until it has checked itself, nothing can be reached', (t) => {
  t.true(early.length >= 2, `${early.length} scans`);
  t.deepEqual(early.flat(), []);
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
  await two.close();
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

test.serial('nothing failed, and the console of the boot shows no trouble', async (t) => {
  t.deepEqual(trouble(one.console()), []);
  t.is((await one.exec('systemctl list-units --failed --no-legend --plain')).stdout.trim(), '');
});

for (const family of ['v4', 'v6'] as const) {
  test.serial(
    `once OpenClaw answers, the proxy's address gets SSH and 443 over ${family}, any other SSH alone`,
    async (t) => {
      await live();
      const ports = [{ first: GATE_PORT, last: GATE_PORT }, SSH_PORTS];
      t.deepEqual(await scanPorts(lab.peer('attacker'), one.addresses[family], ports), [GATE_PORT, ssh.port]);
      t.deepEqual(await scanPorts(stranger, one.addresses[family], ports), [ssh.port]);
    },
  );
}

testClaims(claimsFor('vm'), async (claim) => {
  await live();
  // A sabotage leaves nothing for the next claim.
  await one.restore('live');
  return runClaim(claim, { root: ROOT, target: new VmTarget(one), peer: new VmPeer(lab.peer('attacker')) });
});

test.serial('a reboot ends in the same state', async (t) => {
  await live();
  await one.restore('live');
  const before = await secretsOf(one);
  await one.exec(`fail2ban-client set sshd banip ${BANNED.join(' ')}`);
  await one.reboot();
  t.deepEqual(await waitReady(one), ssh);
  const after = await secretsOf(one);
  for (const [path, digest] of before) {
    if (!path.includes('/var/lib/systemd/')) t.is(after.get(path), digest, path);
  }
  await one.waitForConsole(LIVE, LIMITS.live);
  t.deepEqual(await scanPorts(lab.peer('attacker'), one.addresses.v4), [GATE_PORT, ssh.port]);
  t.deepEqual(await scanPorts(stranger, one.addresses.v4), [ssh.port]);
  const bans = (await one.exec('nft list table inet clawdy_bans')).stdout;
  t.true(bans.includes(BANNED[0]) && bans.includes('2001:db8:1:2::/64'), bans);
  t.deepEqual(trouble(one.console()), []);
});
