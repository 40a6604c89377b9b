import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { SSH_PORTS } from '../../src/contract/box.ts';
import { imageTag, waitForLine } from '../../src/verify/stage.ts';
import { ContainerNetwork, ContainerPeer, ContainerTarget } from '../../src/verify/targets/container.ts';
import { IMAGE_DIR, userData } from '../image.ts';

// The boot refuses what it must. Each box says what it came to; the facts below are looked up on the box itself.

const READY = /clawdy: ready ssh_port=(\d+) host_key=(SHA256:\S+)/;
const LIVE = /clawdy: live ok/;
const LIVE_LIMIT_MS = 180_000;
const SETTLE_LIMIT_MS = 120_000;
const TOKEN = 'a-token-that-must-not-be-shown-0123456789abcdef';

type BootOptions = Partial<Omit<Parameters<typeof ContainerTarget.boot>[0], 'before'>> & { spoil?: string };

let work: string;
let tag: string;
let network: ContainerNetwork;
let peer: ContainerPeer;
/** Public keys of two pairs that the peer holds: /var/tmp/one and /var/tmp/two. */
const keys = { one: '', two: '' };

test.before(async () => {
  work = mkdtempSync(join(tmpdir(), 'clawdy-boot-'));
  writeFileSync(join(work, 'nothing'), '');
  tag = await imageTag(IMAGE_DIR);
  network = await ContainerNetwork.create();
  peer = await ContainerPeer.start({ image: tag, network });
  for (const name of ['one', 'two'] as const) {
    const path = `/var/tmp/${name}`;
    const made = await peer.exec(`ssh-keygen -q -t ed25519 -N '' -C ${name} -f ${path} && cat ${path}.pub`);
    keys[name] = made.stdout.trim();
  }
});

test.after.always(async () => {
  await peer?.close();
  await network?.close();
  rmSync(work, { recursive: true, force: true });
});

/** Boots a box, lets the body look at it and throws it away. `spoil` runs in the tree before systemd does. */
async function withBox<T>(
  { spoil, ...options }: BootOptions,
  body: (box: ContainerTarget) => Promise<T>,
  file = { target: '/var/tmp/nothing', source: join(work, 'nothing') },
): Promise<T> {
  const before = spoil ? { before: { file, command: spoil } } : {};
  const box = await ContainerTarget.boot({ image: tag, network, ...options, ...before });
  try {
    return await body(box);
  } finally {
    await box.close();
  }
}

/** Waits until the boot has come to its end, good or bad: no step, sshd, OpenClaw or network still has a job. */
async function settled(box: ContainerTarget): Promise<string> {
  const end = Date.now() + SETTLE_LIMIT_MS;
  for (;;) {
    const { exitCode, stdout } = await box.exec('systemctl list-jobs --plain --no-legend');
    const console = await box.console();
    // cloud-init's last stage isn't waited for: where the lockdown failed, it waits for stages that never come.
    const busy = exitCode !== 0 || /clawdy-|ssh\.|openclaw\.|networkd/.test(stdout);
    if (!busy && /clawdy: (ready|closed)/.test(console)) return console;
    if (Date.now() > end)
      throw new Error(`the boot never ended: ${stdout}${console.split('\n').slice(-15).join('\n')}`);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

interface Facts {
  /** never: not once started in this boot. */
  openclaw: 'active' | 'stopped' | 'never';
  ssh: string;
  network: string;
  /** What the firewall lets in, both families. */
  opened: string[];
}

async function facts(box: ContainerTarget): Promise<Facts> {
  const { stdout } = await box.exec(`
systemctl show -P ActiveState openclaw.service
systemctl show -P ExecMainStartTimestampMonotonic openclaw.service
systemctl show -P ActiveState ssh.service
systemctl show -P ActiveState systemd-networkd.service
for family in '' 6; do "ip\${family}tables" --wait 10 -S | grep '^-A clawdy-open '; done`);
  const [openclaw = '', started = '', ssh = '', net = '', ...opened] = stdout.trimEnd().split('\n');
  return {
    openclaw: started === '0' ? 'never' : openclaw === 'active' ? 'active' : 'stopped',
    ssh,
    network: net,
    opened: opened.map((line) => /--dport (\d+) /.exec(line)?.[1] ?? line),
  };
}

/** Nothing runs and nothing is open. */
const SHUT = { openclaw: 'never', ssh: 'inactive', opened: [] } as const;

/** A closed box's reason; all of them in one string. */
function reasons(console: string): string {
  return (console.match(/clawdy: closed: .*/g) ?? []).join('\n');
}

/** ok, refused or timeout, as the peer sees the box's TCP port. */
async function reach(box: ContainerTarget, port: string | number): Promise<string> {
  const script = `
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)
    print("ok")
except ConnectionRefusedError:
    print("refused")
except TimeoutError:
    print("timeout")`;
  const { stdout, stderr } = await peer.exec(`python3 -Ic '${script}' ${box.addresses.v4} ${port}`);
  return stdout.trim() || stderr;
}

/** Who the peer is on the box after logging in with one of its keys; empty if it is refused. */
async function login(box: ContainerTarget, port: string, key: keyof typeof keys): Promise<string> {
  const options =
    '-o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o IdentitiesOnly=yes -o ConnectTimeout=20';
  const { stdout } = await peer.exec(`ssh ${options} -i /var/tmp/${key} -p ${port} clawdy@${box.addresses.v4} id -un`);
  return stdout.trim();
}

/** The port, host key and tokens that an instance made for itself. */
async function secrets(box: ContainerTarget): Promise<Record<string, string>> {
  const { stdout } = await box.exec(
    'cd /var/lib/clawdy/state && sha256sum ssh/port ssh/ssh_host_ed25519_key ssh/ssh_host_ed25519_key.pub gateway-token',
  );
  return Object.fromEntries(
    stdout
      .trim()
      .split('\n')
      .map((line) => [line.slice(66), line.slice(0, 64)]),
  );
}

test.serial('without launch.json the keys of the metadata may log in, where the console says', async (t) => {
  await withBox({ metaData: { 'public-keys': [keys.one] } }, async (box) => {
    const [, port = '', hostKey = ''] = READY.exec(await waitForLine(box, READY)) ?? [];
    t.true(Number(port) >= SSH_PORTS.first && Number(port) <= SSH_PORTS.last, port);
    t.like(await facts(box), { ssh: 'active', network: 'active', opened: [port, port] });
    t.is(await login(box, port, 'one'), 'clawdy');
    t.is(await login(box, port, 'two'), '');
    const shown = await peer.exec(
      `ssh-keyscan -p ${port} ${box.addresses.v4} 2>/dev/null | ssh-keygen -l -f - | cut -d' ' -f2`,
    );
    t.is(shown.stdout.trim(), hostKey);
  });
});

// OpenClaw's own checks: the operators keep their way in. Neither box may call itself ready.
for (const [what, spoil, check] of [
  ['a runtime that others can write', 'chmod 0777 /usr/lib/clawdy/runtime', '00-rootfs-runtime'],
  ['an account without a password', "sed -i 's/^games:[^:]*:/games::/' /etc/shadow", '00-rootfs-accounts'],
  ['a second account with a shell', 'usermod --shell /bin/sh games', '08-dedicated-user-account'],
] as const) {
  test.serial(`${what}: a static check fails, OpenClaw never starts, SSH stays for mending`, async (t) => {
    await withBox({ spoil, userData: userData({ userKeys: [keys.one] }) }, async (box) => {
      const console = await settled(box);
      t.regex(reasons(console), new RegExp(`selfcheck static:.*${check}`));
      t.notRegex(console, READY);
      t.notRegex(console, LIVE);
      const found = await facts(box);
      t.like(found, { openclaw: 'never', ssh: 'active' });
      t.is(found.opened.length, 2);
      t.is(await login(box, found.opened[0] as string, 'one'), 'clawdy');
    });
  });
}

for (const [what, spoil, check] of [
  [
    'an sshd that takes passwords',
    "printf 'AuthenticationMethods any\\nPasswordAuthentication yes\\n' >/etc/ssh/sshd_config.d/00-a.conf",
    '03-ssh-config',
  ],
  ['host keys that the image brought', 'touch /etc/ssh/ssh_host_rsa_key', '03-ssh-files'],
] as const) {
  test.serial(`${what}: a check of the operators’ channel fails and nothing opens at all`, async (t) => {
    await withBox({ spoil, userData: userData({ userKeys: [keys.one] }) }, async (box) => {
      const console = await settled(box);
      t.regex(reasons(console), new RegExp(`selfcheck static:.*${check}`));
      t.notRegex(console, READY);
      t.like(await facts(box), SHUT);
      const { stdout } = await box.exec('cat /var/lib/clawdy/state/ssh/port; ss -Hltn sport = :22');
      t.regex(stdout, /^\d{5}\n$/);
      t.is(await reach(box, stdout.trim()), 'timeout');
    });
  });
}

test.serial('a live check that fails stops OpenClaw and leaves SSH, until SSH itself isn’t sound', async (t) => {
  await withBox({ userData: userData({ userKeys: [keys.one] }) }, async (box) => {
    const port = READY.exec(await waitForLine(box, LIVE, LIVE_LIMIT_MS))?.[1] ?? '';
    t.like(await facts(box), { openclaw: 'active', ssh: 'active', opened: [port, port] });
    const again = await box.exec('systemctl start clawdy-selfcheck-live.service');
    t.is(again.exitCode, 0, 'nothing is wrong yet');

    await box.exec('chmod 0777 /usr/lib/clawdy/runtime');
    t.not((await box.exec('systemctl start clawdy-selfcheck-live.service')).exitCode, 0);
    t.regex(reasons(await box.console()), /selfcheck live:.*00-rootfs-runtime/);
    t.like(await facts(box), { openclaw: 'stopped', ssh: 'active' });
    t.is(await login(box, port, 'one'), 'clawdy');
    t.not((await box.exec('systemctl start openclaw.service')).exitCode, 0, 'not until the next boot');
    t.like(await facts(box), { openclaw: 'stopped' });

    await box.exec('chmod 0644 /var/lib/clawdy/state/ssh/ssh_host_ed25519_key');
    t.not((await box.exec('systemctl start clawdy-selfcheck-live.service')).exitCode, 0);
    t.regex(reasons(await box.console()), /selfcheck live:.*03-ssh-files/);
    t.like(await facts(box), { openclaw: 'stopped', ssh: 'inactive', opened: [] });
    t.is(await reach(box, port), 'timeout');
  });
});

test.serial('an sshd on a further port is found while the box runs, and closes SSH and OpenClaw', async (t) => {
  await withBox({ userData: userData({ userKeys: [keys.one] }) }, async (box) => {
    const port = READY.exec(await waitForLine(box, LIVE, LIVE_LIMIT_MS))?.[1] ?? '';
    t.is(await reach(box, port), 'ok');
    const second = await box.exec(`
mkdir -p /run/systemd/system/ssh.service.d
printf '[Service]\\nExecStart=\\nExecStart=/usr/sbin/sshd -D -p ${port} -p 2222\\n' >/run/systemd/system/ssh.service.d/99-second.conf
systemctl daemon-reload && systemctl restart ssh.service && ss -Hltn sport = :2222`);
    t.regex(second.stdout, /:2222/, second.stderr);
    t.not((await box.exec('systemctl start clawdy-selfcheck-live.service')).exitCode, 0);
    t.regex(reasons(await box.console()), /selfcheck live:.*03-ssh-listens/);
    t.like(await facts(box), { openclaw: 'stopped', ssh: 'inactive', opened: [] });
    t.is(await reach(box, port), 'timeout');
  });
});

test.serial(
  'a disk that wakes up in another instance stays closed unless told what to do with its secrets',
  async (t) => {
    const state = join(work, 'state.tar');
    const launch = { userKeys: [keys.one] };
    const first = await withBox(
      { instanceId: 'i-a', userData: userData(launch), metaData: { 'public-keys': [keys.two] } },
      async (box) => {
        const port = READY.exec(await waitForLine(box, READY))?.[1] ?? '';
        t.is(await login(box, port, 'one'), 'clawdy');
        t.is(await login(box, port, 'two'), '', 'launch.json names the keys, so those of the metadata do not count');
        const { stdout } = await box.exec('tar -C /var/lib/clawdy -cf - state | base64 -w 0');
        writeFileSync(state, Buffer.from(stdout, 'base64'));
        return secrets(box);
      },
    );
    t.is(Object.keys(first).length, 4);

    const wakeUp = <T>(instanceId: string, more: object, body: (box: ContainerTarget) => Promise<T>) =>
      withBox(
        {
          instanceId,
          userData: userData({ ...launch, ...more }),
          spoil: 'mkdir -p /var/lib/clawdy && tar -C /var/lib/clawdy -xpf /var/tmp/state.tar',
        },
        body,
        { target: '/var/tmp/state.tar', source: state },
      );

    await wakeUp('i-a', {}, async (box) => {
      await waitForLine(box, READY);
      t.deepEqual(await secrets(box), first, 'the same instance again keeps everything');
    });
    await wakeUp('i-b', {}, async (box) => {
      const console = await settled(box);
      t.regex(reasons(console), /i-a.*i-b.*adopt.*renew/);
      t.notRegex(console, READY);
      t.like(await facts(box), SHUT);
      t.deepEqual(await secrets(box), first, 'refusing changes nothing');
    });
    await wakeUp('i-b', { clone: 'adopt' }, async (box) => {
      const port = READY.exec(await waitForLine(box, READY))?.[1] ?? '';
      t.deepEqual(await secrets(box), first);
      t.is(await login(box, port, 'one'), 'clawdy');
      t.is((await box.exec('jq -r .clone /var/lib/clawdy/state/launch.json')).stdout.trim(), 'adopt');
      t.is((await box.exec('cat /var/lib/clawdy/state/instance-id')).stdout.trim(), 'i-b');
    });
    await wakeUp('i-b', { clone: 'renew' }, async (box) => {
      const port = READY.exec(await waitForLine(box, READY))?.[1] ?? '';
      const now = await secrets(box);
      t.deepEqual(Object.keys(now), Object.keys(first));
      t.deepEqual(
        Object.keys(now).filter((path) => now[path] === first[path]),
        [],
        'nothing of the old instance is left',
      );
      t.is(await login(box, port, 'one'), 'clawdy');
    });
  },
);

const launchFile = (content: string) => ({ path: '/run/clawdy/launch.json', content });
const cloudConfig = (document: object) => `#cloud-config\n${JSON.stringify(document)}\n`;
const sound = JSON.stringify({ version: 1, launchId: 'test-launch', token: TOKEN });

const refused: [string, string, RegExp][] = [
  ['runcmd', cloudConfig({ write_files: [launchFile(sound)], runcmd: ['touch /var/lib/pwned'] }), /user-data/],
  [
    'a second file',
    cloudConfig({ write_files: [launchFile(sound), { path: '/var/lib/pwned', content: TOKEN }] }),
    /write_files/,
  ],
  ['another file', cloudConfig({ write_files: [{ path: '/var/lib/pwned', content: sound }] }), /write_files/],
  ['a script', `#!/bin/sh\ntouch /var/lib/pwned # ${TOKEN}\n`, /user-data/],
  [
    'several parts',
    `Content-Type: multipart/mixed; boundary="b"\nMIME-Version: 1.0\n\n--b\nContent-Type: text/x-shellscript\n\n#!/bin/sh\ntouch /var/lib/pwned # ${TOKEN}\n--b--\n`,
    /user-data/,
  ],
  ['user-data of more than 64 KiB', `${userData({ token: TOKEN })}#${'x'.repeat(65 * 1024)}\n`, /larger/],
  ['a launch.json of more than 16 KiB', userData({ token: TOKEN, launchId: 'x'.repeat(17 * 1024) }), /larger/],
  ['an unknown member, named like a secret', userData({ token: TOKEN, [TOKEN]: true }), /known/],
  ['a value of the wrong type', userData({ token: [TOKEN] }), /token/],
  ['a token of the wrong form', userData({ token: `${TOKEN}!` }), /token/],
];

for (const [what, data, reason] of refused) {
  test.serial(`user-data with ${what} leaves the box closed and isn’t echoed`, async (t) => {
    await withBox({ userData: data, metaData: { 'public-keys': [keys.one] } }, async (box) => {
      const console = await settled(box);
      t.regex(reasons(console), /launch\.json refused/);
      t.regex(reasons(console), reason);
      t.notRegex(console, READY);
      t.like(await facts(box), SHUT);
      t.not((await box.exec('test -e /var/lib/pwned')).exitCode, 0);
      t.false(console.includes(TOKEN), 'on the console');
      // cloud-init stores the user-data as it came, below a folder of root's; nobody else may repeat it.
      const leaks = await box.exec(`grep -rlsF -e ${TOKEN} /run/clawdy /run/log /var/log /var/lib/clawdy /tmp`);
      t.is(leaks.stdout.trim(), '');
    });
  });
}

test.serial('user-data with an include leaves the box closed', async (t) => {
  await withBox({ userData: `#include\n# ${TOKEN}\n`, metaData: { 'public-keys': [keys.one] } }, async (box) => {
    const console = await settled(box);
    t.regex(reasons(console), /launch\.json refused: .*user-data/);
    t.notRegex(console, READY);
    t.like(await facts(box), SHUT);
    t.false(console.includes(TOKEN));
  });
});

// cloud-init 25.1 fetches what an #include names while it stores the user-data, before allow_userdata: false is asked
// (Init._store_userdata), and logs the address. Nothing that it fetches is acted on.
test.serial.failing('an include isn’t even fetched', async (t) => {
  await peer.exec('cd /srv && echo >included; setsid python3 -m http.server 8000 >/var/tmp/asked 2>&1 &');
  await withBox({ userData: `#include\nhttp://${peer.address}:8000/included\n` }, async (box) => {
    t.regex(reasons(await settled(box)), /launch\.json refused/);
    t.notRegex((await peer.exec('cat /var/tmp/asked')).stdout, /GET \/included/);
  });
});

test.serial('a lockdown that fails keeps the network down and everything after it', async (t) => {
  const spoil = "printf '#!/bin/sh\\necho spoilt >&2\\nexit 1\\n' >/usr/lib/clawdy/lockdown.d/01-loopback";
  await withBox({ spoil, userData: userData({ userKeys: [keys.one] }) }, async (box) => {
    const console = await settled(box);
    t.regex(reasons(console), /01-loopback.*spoilt/);
    t.notRegex(console, READY);
    // Docker has set up the interface by itself; what the box would do about its network are these units.
    const units = ['systemd-networkd', 'cloud-init-local', 'clawdy-config', 'clawdy-identity', 'clawdy-open'];
    const { stdout } = await box.exec(
      `systemctl is-failed clawdy-lockdown.service; systemctl is-active ${units.join(' ')}; ls -A /run/clawdy/stamps /var/lib/clawdy/state 2>/dev/null`,
    );
    t.deepEqual(stdout.trim().split('\n'), ['failed', ...units.map(() => 'inactive')]);
    t.like(await facts(box), { ...SHUT, network: 'inactive' });
  });
});
