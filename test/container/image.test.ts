import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { AGENT, KEYS_PORT, OPENCLAW_PORT, PATHS, SSH_PORTS } from '../../src/contract/box.ts';
import { OPERATORS } from '../../src/contract/ops.ts';
import { imageTag } from '../../src/verify/stages/container.ts';
import { waitForLine } from '../../src/verify/stages/ready.ts';
import { ContainerNetwork, ContainerPeer, ContainerTarget } from '../../src/verify/targets/container.ts';
import { IMAGE_DIR, userData } from '../image.ts';
import { reach } from './reach.ts';

// What a finished boot is, looked at by other means than the box's own checks. Nothing here changes the box.

const LIVE_LIMIT_MS = 600_000;

/** Units that may have failed in a container, each with its reason. */
const MAY_FAIL: Record<string, string> = {
  'systemd-remount-fs.service': 'the root is Docker’s overlay; a container may not remount it',
};

let network: ContainerNetwork;
let peer: ContainerPeer;
let box: ContainerTarget;
let port: number;

test.before(async () => {
  const tag = await imageTag(IMAGE_DIR);
  network = await ContainerNetwork.create();
  peer = await ContainerPeer.start({ image: tag, network });
  box = await ContainerTarget.boot({ image: tag, network, userData: userData({}) });
  const console = await waitForLine(box, /clawdy: live ok/, LIVE_LIMIT_MS);
  port = Number(/clawdy: ready ssh_port=(\d+) /.exec(console)?.[1]);
});

test.after.always(async () => {
  await box?.close();
  await peer?.close();
  await network?.close();
});

/** The lines that a command prints; it must succeed. */
async function lines(command: string): Promise<string[]> {
  const { exitCode, stdout, stderr } = await box.exec(command);
  if (exitCode !== 0) throw new Error(`${command}: exit ${exitCode}\n${stdout}${stderr}`);
  return stdout.split('\n').filter((line) => line !== '');
}

test.serial('systemd is up; what failed is known and a container’s fault', async (t) => {
  // Exit 1 for degraded.
  t.regex((await box.exec('systemctl is-system-running')).stdout, /^(running|degraded)$/m);
  const failed = (await lines('systemctl list-units --failed --plain --no-legend')).map((line) => line.split(/\s+/)[0]);
  t.deepEqual(
    failed.filter((unit) => !Object.hasOwn(MAY_FAIL, unit ?? '')),
    [],
  );
  const expected = ['openclaw', 'ssh', 'ufw', 'clawdy-lockdown', 'clawdy-selfcheck-static', 'clawdy-open'];
  t.deepEqual(
    await lines(`systemctl is-active ${expected.join(' ')} clawdy-selfcheck-live.timer`),
    Array(expected.length + 1).fill('active'),
  );
});

test.serial('OpenClaw answers on loopback and to nobody outside', async (t) => {
  const ask = `python3 -Ic 'import urllib.request as u; a = u.urlopen("http://127.0.0.1:${OPENCLAW_PORT}/readyz", timeout=20); print(a.status)'`;
  t.deepEqual(await lines(ask), ['200']);
  for (const address of [box.addresses.v4, box.addresses.v6]) {
    t.regex(await reach(peer, address, OPENCLAW_PORT), /^(refused|timeout)$/, address);
  }
  // The peer does get through where it should.
  t.is(await reach(peer, box.addresses.v4, port), 'ok');
});

test.serial('the box will check itself again within a quarter of an hour', async (t) => {
  const timer = 'systemctl list-timers --output=json clawdy-selfcheck-live.timer';
  // The next time is known once the first check has ended.
  const next = async () => (JSON.parse((await lines(timer)).join('')) as [{ next: number | null }])[0].next;
  for (let tries = 0; !(await next()) && tries < 30; tries++) await sleep(500);
  const minutes = (Number(await next()) / 1000 - Date.now()) / 60_000;
  t.true(minutes > 0 && minutes <= 15.1, String(minutes));
});

test.serial('the listening sockets are exactly those that are meant', async (t) => {
  t.true(port >= SSH_PORTS.first && port <= SSH_PORTS.last, String(port));
  const meant = new Set([
    `tcp 0.0.0.0:${port} sshd`,
    `tcp [::]:${port} sshd`,
    `tcp 127.0.0.1:${OPENCLAW_PORT} openclaw`,
    `tcp [::1]:${OPENCLAW_PORT} openclaw`,
    `tcp 127.0.0.1:${KEYS_PORT} haproxy`,
  ]);
  /** systemd-resolved's stub, on loopback. */
  const resolved = /^(tcp|udp) 127\.0\.0\.(53%lo|54):53 systemd-resolve$/;
  /** Docker's own resolver: of a process outside the container, in its network namespace. */
  const docker = /^(tcp|udp) 127\.0\.0\.11:\d+ -$/;
  const found = (await lines('ss -Hltunp')).map((line) => {
    const [protocol, , , , local] = line.split(/\s+/);
    const process = /users:\(\("([^"]+)"/.exec(line)?.[1] ?? '-';
    return `${protocol} ${local} ${process.startsWith('openclaw') ? 'openclaw' : process}`;
  });
  t.deepEqual(
    found.filter((socket) => !resolved.test(socket) && !docker.test(socket)).sort(),
    // Where the kernel gives no ::1, OpenClaw makes do with 127.0.0.1.
    [...meant].filter((socket) => !socket.includes('[::1]') || found.includes(socket)).sort(),
  );
  t.deepEqual(await lines('ss -Hl --vsock --packet'), []);
});

test.serial('sshd takes keys of one account, forwards nothing and speaks modern algorithms only', async (t) => {
  const config = new Map<string, string[]>();
  for (const line of await lines('/usr/sbin/sshd -T')) {
    const [key = '', ...value] = line.split(' ');
    config.set(key, [...(config.get(key) ?? []), value.join(' ')]);
  }
  const want: Record<string, string> = {
    port: String(port),
    hostkey: `${PATHS.state}/ssh/ssh_host_ed25519_key`,
    permitrootlogin: 'no',
    authenticationmethods: 'publickey',
    passwordauthentication: 'no',
    kbdinteractiveauthentication: 'no',
    hostbasedauthentication: 'no',
    gssapiauthentication: 'no',
    kerberosauthentication: 'no',
    permitemptypasswords: 'no',
    authorizedkeysfile: `${PATHS.run}/ssh/%u.keys`,
    authorizedkeyscommand: 'none',
    trustedusercakeys: 'none',
    strictmodes: 'yes',
    disableforwarding: 'yes',
    allowtcpforwarding: 'no',
    allowstreamlocalforwarding: 'no',
    allowagentforwarding: 'no',
    x11forwarding: 'no',
    permittunnel: 'no',
    gatewayports: 'no',
    permituserrc: 'no',
    permituserenvironment: 'no',
    hostkeyalgorithms: 'ssh-ed25519',
  };
  for (const [key, value] of Object.entries(want)) t.deepEqual(config.get(key), [value], key);
  t.deepEqual(config.get('allowusers'), [AGENT.name, OPERATORS.name]);
  const modern: Record<string, RegExp> = {
    kexalgorithms: /25519/,
    ciphers: /^(chacha20-poly1305|aes(128|256)-gcm)@openssh\.com$/,
    macs: /^hmac-sha2-(256|512)-etm@openssh\.com$/,
    pubkeyacceptedalgorithms: /^((sk-)?ssh-ed25519|(sk-)?ecdsa-sha2-nistp(256|384|521)|rsa-sha2-(256|512))(@|$)/,
  };
  for (const [key, pattern] of Object.entries(modern)) {
    const algorithms = config.get(key)?.[0]?.split(',') ?? [];
    t.true(algorithms.length > 0, key);
    t.deepEqual(
      algorithms.filter((algorithm) => !pattern.test(algorithm)),
      [],
      key,
    );
  }
});

test.serial(
  'only clawdy has a shell beside root and sync, clawdy-ops one program, and nobody has a password',
  async (t) => {
    const accounts = (await lines('getent passwd')).map((line) => line.split(':'));
    const shells = accounts.filter(([, , , , , , shell]) => !/\/(nologin|false)$/.test(shell ?? ''));
    t.deepEqual(shells.map(([name]) => name).sort(), [AGENT.name, OPERATORS.name, 'root', 'sync']);
    t.is(accounts.find(([name]) => name === OPERATORS.name)?.[6], `${PATHS.lib}/ops/relay`);
    t.deepEqual(
      accounts.filter(([, , uid]) => uid === '0').map(([name]) => name),
      ['root'],
    );
    const agent = accounts.find(([name]) => name === AGENT.name) ?? [];
    t.deepEqual(agent.slice(2, 4).map(Number), [AGENT.uid, AGENT.gid]);
    t.is(agent[5], PATHS.home);
    t.deepEqual(await lines(`id -G ${AGENT.name}`), [String(AGENT.gid)]);
    const shadow = (await lines('cat /etc/shadow')).map((line) => line.split(':'));
    t.is(shadow.length, accounts.length);
    t.deepEqual(
      shadow.filter(([, hash]) => !/^(!|\*|!\*|!!)$/.test(hash ?? '')).map(([name]) => name),
      [],
    );
    const groups = (await lines('cat /etc/gshadow')).map((line) => line.split(':'));
    t.deepEqual(
      groups.filter(([, hash]) => !/^[!*]*$/.test(hash ?? '')).map(([name]) => name),
      [],
    );
  },
);

test.serial('sensitive files are in the hands they belong to', async (t) => {
  const owned: Record<string, string> = {
    [PATHS.data]: '755 root:root',
    [PATHS.state]: '700 root:root',
    [`${PATHS.state}/ssh`]: '700 root:root',
    [`${PATHS.state}/ssh/ssh_host_ed25519_key`]: '600 root:root',
    [`${PATHS.state}/gateway-token`]: '600 root:root',
    [`${PATHS.state}/launch.json`]: '600 root:root',
    [`${PATHS.state}/instance-id`]: '600 root:root',
    [PATHS.home]: '700 clawdy:clawdy',
    [PATHS.run]: '755 root:root',
    [`${PATHS.run}/launch.json`]: '600 root:root',
    [`${PATHS.run}/ssh/clawdy.keys`]: '644 root:root',
    [`${PATHS.run}/openclaw/openclaw.json`]: '640 root:clawdy',
    [`${PATHS.run}/openclaw/gateway-token`]: '400 clawdy:clawdy',
    '/etc/sudoers': '440 root:root',
    '/etc/passwd': '644 root:root',
    '/etc/shadow': '640 root:shadow',
    '/root': '700 root:root',
  };
  const found = await lines(`stat -c '%n %a %U:%G' ${Object.keys(owned).join(' ')}`);
  t.deepEqual(
    found,
    Object.entries(owned).map(([path, facts]) => `${path} ${facts}`),
  );
  t.deepEqual(await lines(`find ${PATHS.state} ! -user root -o -perm /022 -o -type f -perm /044 ! -name '*.pub'`), []);
});

test.serial('nobody but root may write the program, the configuration or the system', async (t) => {
  t.deepEqual(await lines(`find ${PATHS.lib} -xdev \\( ! -user root -o ! -type l -perm /022 \\)`), []);
  t.true((await lines(`find ${PATHS.runtime} -type f | head -n 1000`)).length === 1000);
  // Sticky folders such as /var/tmp are meant to be shared.
  const system = '/usr /etc /opt /srv /root /boot';
  t.deepEqual(await lines(`find ${system} -xdev ! -type l -perm -0002 ! -perm -1000`), []);
  t.deepEqual(await lines(`find ${system} -xdev -user ${AGENT.uid}`), []);
  t.deepEqual(await lines(`find / -xdev -user ${AGENT.uid} ! -path '${PATHS.home}*' ! -path '/tmp/*'`), []);
});

test.serial('sudo lets in nobody', async (t) => {
  const { stdout } = await box.exec(`sudo -l -U ${AGENT.name}`);
  t.regex(stdout, /clawdy is not allowed to run sudo/);
  t.deepEqual(await lines("grep -hEv '^(#|Defaults |$)' /etc/sudoers"), ['root ALL=(ALL:ALL) ALL']);
  t.not((await box.exec('sudo -n id', { as: 'agent' })).exitCode, 0);
});
