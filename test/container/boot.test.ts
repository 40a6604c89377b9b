import test from 'ava';
import { SSH_PORTS } from '../../src/contract/box.ts';
import { stopChecks, waitForLine } from '../../src/verify/stages/ready.ts';
import { userData } from '../image.ts';
import { facts, keys, LIVE, LIVE_LIMIT_MS, login, peer, READY, reasons, SHUT, settled, withBox } from './boxes.ts';
import { reach } from './reach.ts';

const FULL = process.env.CLAWDY_FULL === '1';

// The boot refuses what it must. Each box says what it came to.

test.serial('without launch.json the keys of the metadata may log in, where the console says', async (t) => {
  await withBox({ asleep: true, metaData: { 'public-keys': [keys.one] } }, async (box) => {
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

type Spoilt = [what: string, spoil: string, check: string];

// OpenClaw's own checks: the operators keep their way in.
const OPENCLAWS: Spoilt[] = [
  ['a runtime that others can write', 'chmod 0777 /usr/lib/clawdy/runtime', '00-rootfs-runtime'],
  ['an account without a password', "sed -i 's/^games:[^:]*:/games::/' /etc/shadow", '00-rootfs-accounts'],
  ['a second account with a shell', 'usermod --shell /bin/sh games', '08-dedicated-user-account'],
];

const CHANNELS: Spoilt[] = [
  [
    'an sshd that takes passwords',
    "printf 'AuthenticationMethods any\\nPasswordAuthentication yes\\n' >/etc/ssh/sshd_config.d/00-a.conf",
    '03-ssh-config',
  ],
  ['host keys that the image brought', 'touch /etc/ssh/ssh_host_rsa_key', '03-ssh-files'],
];

/** In the full run each has a boot of its own; else the first of its kind has, and a box that runs is asked about the others. */
const booted = (kind: Spoilt[]) => (FULL ? kind : kind.slice(0, 1));
const asked = FULL ? [] : [...OPENCLAWS.slice(1), ...CHANNELS.slice(1)];

// Neither box may call itself ready.
for (const [what, spoil, check] of booted(OPENCLAWS)) {
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

for (const [what, spoil, check] of booted(CHANNELS)) {
  test.serial(`${what}: a check of the operators’ channel fails and nothing opens at all`, async (t) => {
    await withBox({ spoil, userData: userData({ userKeys: [keys.one] }) }, async (box) => {
      const console = await settled(box);
      t.regex(reasons(console), new RegExp(`selfcheck static:.*${check}`));
      t.notRegex(console, READY);
      t.like(await facts(box), SHUT);
      const { stdout } = await box.exec('cat /var/lib/clawdy/state/ssh/port; ss -Hltn sport = :22');
      t.regex(stdout, /^\d{5}\n$/);
      t.is(await reach(peer, box.addresses.v4, stdout.trim()), 'timeout');
    });
  });
}

const SECOND = '/run/systemd/system/ssh.service.d/99-second.conf';

/** A command that has sshd listen on a further port, and says whether it does. */
const secondSshd = (port: string) => `mkdir -p $(dirname ${SECOND}) &&
  printf '[Service]\\nExecStart=\\nExecStart=/usr/sbin/sshd -D -p ${port} -p 2222\\n' >${SECOND} &&
  systemctl daemon-reload && systemctl restart ssh.service && ss -Hltn sport = :2222 | grep -q :2222`;

test.serial('a live check that fails stops OpenClaw and leaves SSH, until SSH itself isn’t sound', async (t) => {
  await withBox({ userData: userData({ userKeys: [keys.one] }) }, async (box) => {
    const port = READY.exec(await waitForLine(box, LIVE, LIVE_LIMIT_MS))?.[1] ?? '';
    t.like(await facts(box), { openclaw: 'active', ssh: 'active', opened: [port, port] });
    // A daemon-reload has the timer fire anew, and a start that finds a check running only waits for its end.
    await stopChecks(box);
    const checkAll = async () => (await box.exec('systemctl start clawdy-selfcheck-live.service')).exitCode;
    t.is(await checkAll(), 0, 'nothing is wrong yet');
    for (const [what, spoil, check] of asked) {
      const path = `/usr/lib/clawdy/checks/static.d/${check}`;
      t.is((await box.exec(path)).exitCode, 0, `before ${what}`);
      const { exitCode } = await box.exec(
        `cp -a /etc/passwd /etc/shadow /run/ && ${spoil} && ! ${path} && cp -a /run/passwd /run/shadow /etc/ && rm -f /etc/ssh/ssh_host_rsa_key`,
      );
      t.is(exitCode, 0, what);
    }
    if (!FULL) {
      const listens = '/usr/lib/clawdy/checks/live.d/03-ssh-listens';
      t.is((await box.exec(listens)).exitCode, 0);
      t.is((await box.exec(secondSshd(port))).exitCode, 0);
      t.not((await box.exec(listens)).exitCode, 0, 'an sshd on a further port');
      const back = `rm ${SECOND} && systemctl daemon-reload && systemctl restart ssh.service`;
      t.is((await box.exec(back)).exitCode, 0);
    }

    await box.exec('chmod 0777 /usr/lib/clawdy/runtime');
    t.not(await checkAll(), 0, 'a runtime that others can write');
    t.regex(reasons(await box.console()), /selfcheck live:.*00-rootfs-runtime/);
    t.like(await facts(box), { openclaw: 'stopped', ssh: 'active' });
    t.is(await login(box, port, 'one'), 'clawdy');
    t.not((await box.exec('systemctl start openclaw.service')).exitCode, 0, 'not until the next boot');
    t.like(await facts(box), { openclaw: 'stopped' });

    await box.exec('chmod 0644 /var/lib/clawdy/state/ssh/ssh_host_ed25519_key');
    t.not(await checkAll(), 0, 'a host key that others can read');
    t.regex(reasons(await box.console()), /selfcheck live:.*03-ssh-files/);
    t.like(await facts(box), { openclaw: 'stopped', ssh: 'inactive', opened: [] });
    t.is(await reach(peer, box.addresses.v4, port), 'timeout');

    // The check that closes the box when somebody switches UFW off.
    const closed = '/usr/lib/clawdy/checks/static.d/05-firewall-closed';
    t.is((await box.exec(closed)).exitCode, 0);
    t.is((await box.exec('ufw disable')).exitCode, 0);
    t.not((await box.exec(closed)).exitCode, 0, 'UFW is off');
  });
});

if (FULL)
  test.serial('an sshd on a further port is found while the box runs, and closes SSH and OpenClaw', async (t) => {
    await withBox({ userData: userData({ userKeys: [keys.one] }) }, async (box) => {
      const port = READY.exec(await waitForLine(box, LIVE, LIVE_LIMIT_MS))?.[1] ?? '';
      t.is(await reach(peer, box.addresses.v4, port), 'ok');
      await stopChecks(box);
      t.is((await box.exec(secondSshd(port))).exitCode, 0);
      t.not((await box.exec('systemctl start clawdy-selfcheck-live.service')).exitCode, 0);
      t.regex(reasons(await box.console()), /selfcheck live:.*03-ssh-listens/);
      t.like(await facts(box), { openclaw: 'stopped', ssh: 'inactive', opened: [] });
      t.is(await reach(peer, box.addresses.v4, port), 'timeout');
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
