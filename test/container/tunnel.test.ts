import test from 'ava';
import { waitForLine } from '../../src/verify/stages/ready.ts';
import { LIVE, LIVE_LIMIT_MS, login, peer, READY } from './boxes.ts';
import {
  AGENT,
  ASK_UDP,
  as,
  ask,
  boot,
  CLOUDFLARED,
  CONNECT,
  CONNECTOR,
  comes,
  connects,
  ECHO,
  encode,
  FOLDER,
  opens,
  outcome,
  PARTS,
  SECRET,
  SERVE,
  SOCKET,
  STAND_IN,
  status,
  TOKEN,
  TWICE,
  VISITOR,
  visit,
} from './tunnel-scene.ts';

// Mode tunnel: what comes in by Cloudflare's connector, and what doesn't.

test.serial('an image without cloudflared refuses mode tunnel and a token for it, with the reason', (t) =>
  boot('bare', 'true', async (box) => {
    await waitForLine(box, READY);
    t.like((await status(box)).gate as object, {
      shut: 'mode tunnel needs an image with cloudflared, and this one has none',
    });
    t.regex((await ask(box, 'set-tunnel-token', { token: TOKEN })).error ?? '', /this image has no cloudflared/);
    t.is(
      (await box.exec('systemctl is-active clawdy-gate.service clawdy-tunnel.service')).stdout,
      'inactive\ninactive\n',
    );
  }),
);

test.serial(
  'requests come by the connector to the gate and nowhere else; nobody else gets to its socket, port or token',
  (t) =>
    boot('tunnel', `install -D -m 0755 ${STAND_IN.target} ${CLOUDFLARED}`, async (box) => {
      const console = await waitForLine(box, LIVE, LIVE_LIMIT_MS);
      const port = READY.exec(console)?.[1] as string;
      const unit = async (name: string) => (await box.exec(`systemctl is-active clawdy-${name}.service`)).stdout.trim();
      /** It follows the gate, and nobody waits for it. */
      const connector = (wanted: string) =>
        comes(
          () => unit('tunnel'),
          (now) => now === wanted,
        );

      // Without a token: closed, and it says so; the operators' channel is what mends it.
      t.regex(console, /clawdy: 443 stays closed: mode tunnel waits for its token/);
      t.like(await status(box), {
        gate: { mode: null, shut: "mode tunnel waits for its token: the operators' verb set-tunnel-token" },
        tunnel: { token: false, connector: 'inactive' },
      });
      t.is((await box.exec(`test -e ${FOLDER}`)).exitCode, 1);
      const wrong = [
        ...[7, '', 'not a token', TOKEN.slice(1), `${TOKEN}\n`, encode([]), encode({ ...PARTS, more: 'x' })],
        ...[encode({ ...PARTS, t: '../../etc' }), encode({ a: PARTS.a, t: PARTS.t }), encode({ ...PARTS, s: 'short' })],
      ];
      for (const token of wrong)
        t.regex((await ask(box, 'set-tunnel-token', { token })).error ?? '', /takes \{"token"/, `${token}`);
      t.is((await ask(box, 'set-tunnel-token', { token: TOKEN, more: 1 })).ok, false);

      // With one the gate starts, and after the box's check the connector.
      t.deepEqual(await ask(box, 'set-tunnel-token', { token: TOKEN }), {
        ...{ ok: true, verb: 'set-tunnel-token', result: { tunnelToken: true } },
      });
      t.deepEqual([await unit('gate'), await connector('activating')], ['active', 'activating']);
      // The lab's addresses are private, as no edge's is; once this one counts as any other, its port 7844 can be reached.
      await box.exec(`printf '%s region1.v2.argotunnel.com\\n' ${peer.addresses.v4} >>/etc/hosts`);
      t.is(await visit(`${VISITOR} /`), 'absent');
      await box.exec(`nft insert rule inet clawdy_tunnel connector ip daddr ${peer.addresses.v4} jump edge`);
      t.is(await visit(`${VISITOR} /`), 'http:200');
      t.is(await visit(`--code none ${VISITOR} /`), 'http:401');
      t.is(await visit(`--upgrade ${VISITOR} --header X-Clawdy-User:owner@example.com /`), 'ok');
      t.is(await visit(`--upgrade --code none ${VISITOR} /`), 'http:401');
      for (const code of ['empty', 'wrong', 'twice', 'joined'])
        t.is(await visit(`--code ${code} ${VISITOR} /`), 'http:401', code);
      // One visitor, in plain form, who is an address.
      t.is(await visit('/'), 'http:400');
      t.is(await visit(`${VISITOR} --header CF-Connecting-IP:198.51.100.7 /`), 'http:400');
      for (const name of ['203.0.113.5,198.51.100.7', '::::', 'localhost'])
        t.is(await visit(`--header CF-Connecting-IP:${name} /`), 'http:400', name);
      const code = (await peer.exec('cat /var/tmp/auth-proxy/code')).stdout;
      t.is(
        (await box.exec(`printf '${code}\\n${code}\\n' | ${as(CONNECTOR)} python3 -Ic '${TWICE}'`)).stdout,
        '200\n400\n',
      );
      t.like(await status(box), {
        ...{ gate: { mode: 'tunnel', shut: null }, tunnel: { token: true, connector: 'active' }, closed: null },
      });
      t.regex(
        (await box.exec('journalctl --boot --output=cat --unit=clawdy-gate.service')).stdout,
        /^clawdy-gate visitor=203\.0\.113\.5 net=203\.0\.113\.5 code=missing status=401 peer=tunnel /m,
      );

      // 443 isn't there, from outside or inside; SSH shows that the box can be reached.
      const outside = { TARGET: box.addresses.v4, TARGET6: box.addresses.v6, SSH_PORT: port };
      const from = async (words: string) =>
        outcome((await peer.exec(`${CONNECT} ${words}`, { env: outside })).stdout, '');
      t.deepEqual([await from('ssh'), await from('-6 ssh')], ['ok', 'ok']);
      t.deepEqual([await from('443'), await from('-6 443')], ['timeout', 'timeout']);
      t.is(await connects(box, 0, '443'), 'refused');
      t.is((await box.exec('nft list set inet clawdy_firewall ports4')).stdout.includes('443'), false);

      // A tunnel's configuration that names another service than the gate: each is there, for root.
      await box.exec('systemd-run --quiet python3 -Im http.server --bind 127.0.0.1 8123');
      await box.exec(
        'ip address add 169.254.169.254 dev lo && systemd-run --quiet python3 -Im http.server --bind 169.254.169.254 80',
      );
      await peer.exec(`${ECHO}\n${SERVE}`);
      for (const target of [
        ...['127.0.0.1 7860', '127.0.0.1 7862', '127.0.0.1 7864', '127.0.0.1 8123', '169.254.169.254 80'],
        ...[`${box.addresses.v4} ${port}`, `::1 ${port}`, `${peer.addresses.v4} 8123`],
      ]) {
        const there = () => connects(box, 0, `--host ${target}`);
        t.is(await comes(there, (now) => now === 'ok', 20_000), 'ok', `control: ${target}`);
        t.is(await visit(`${VISITOR} /`, `tcp:${target.replace(' ', ':')}`), 'ECONNREFUSED', target);
      }
      // QUIC's port, by UDP.
      const echoed = async (who: number, at: number) =>
        (await box.exec(`${as(who)} python3 -Ic '${ASK_UDP}' ${peer.addresses.v4} ${at}`)).stdout.trim();
      t.deepEqual([await echoed(CONNECTOR, 7844), await echoed(0, 8123)], ['ok', 'ok']);
      t.is(await echoed(CONNECTOR, 8123), 'PermissionError');
      for (const path of ['/run/dbus/system_bus_socket', '/run/clawdy-ops.sock', '/run/clawdy-gate/local.sock']) {
        t.is(await opens(box, 0, path), 'ok', `control: ${path}`);
        t.is(await visit(`${VISITOR} /`, `unix:${path}`), 'ENOENT', path);
      }
      t.is(await visit(`${VISITOR} /`), 'http:200', 'the connector was there all the time');

      // The agent.
      t.deepEqual([await opens(box, CONNECTOR, SOCKET), await opens(box, 0, SOCKET)], ['ok', 'ok']);
      for (const other of [AGENT, 7862, 7863, 65534])
        t.is(await opens(box, other, SOCKET), 'PermissionError', `${other}`);
      t.is(await connects(box, 0, '--host 127.0.0.1 7864'), 'ok');
      for (const other of [AGENT, 7863])
        t.is(await connects(box, other, '--host 127.0.0.1 7864'), 'refused', `${other}`);
      const credential = '/run/clawdy/tunnel/token';
      t.is((await box.exec(`cat ${credential}`)).stdout, TOKEN);
      t.not((await box.exec(`cat ${credential}`, { as: 'agent' })).exitCode, 0);
      const kept = '/var/lib/clawdy/state/tunnel';
      t.is(
        (await box.exec(`stat -c '%n %u %a' ${kept} ${kept}/*`)).stdout,
        `${kept} 0 700\n${kept}/token.cred 0 600\n`,
      );
      // Nowhere in clear but for the connector: no argument, environment, journal or file.
      const part = `[${TOKEN[20]}]${TOKEN.slice(21, 60)}`;
      const places = [`cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' '\\n'`, 'journalctl --boot --no-pager'];
      for (const place of places)
        t.is((await box.exec(`${place} 2>/dev/null | grep -c '${part}' || :`)).stdout, '0\n', place);
      const files = await box.exec(
        `grep -rlE '${part}|${SECRET}' /run /var/lib/clawdy /var/log /tmp /etc 2>/dev/null || :`,
      );
      t.deepEqual(
        files.stdout.split('\n').filter((name) => name && name !== credential),
        [],
      );
      t.regex((await box.exec('journalctl --boot --output=cat')).stdout, /ops: set-tunnel-token for uid 7863: done/);
      t.is(await login(box, port, 'one'), 'clawdy');

      // A reload, a restart and another token.
      t.is((await box.exec('systemctl reload clawdy-gate.service')).exitCode, 0);
      t.is(await visit(`${VISITOR} /`), 'http:200');
      t.like(await ask(box, 'selfcheck', {}), { ok: true, result: { live: true, closed: null } });
      const pid = async () => (await box.exec('systemctl show -P MainPID clawdy-tunnel.service')).stdout.trim();
      const before = await pid();
      const other = encode({ ...PARTS, t: PARTS.t.replace('6f1c', '7a2d') });
      t.true((await ask(box, 'set-tunnel-token', { token: other })).ok);
      t.not(await comes(pid, (now) => now !== before && now !== '0'), before);
      t.is(await visit(`${VISITOR} /`), 'http:200');
      t.is((await box.exec(`cat ${credential}`)).stdout, other);
      await box.exec('systemctl restart clawdy-gate.service');
      t.is(await visit(`${VISITOR} /`), 'http:200');

      // Taken away, and back.
      t.deepEqual((await ask(box, 'set-tunnel-token', { token: null })).result, { tunnelToken: false });
      t.deepEqual([await unit('gate'), await connector('inactive')], ['inactive', 'inactive']);
      t.is(await visit(`${VISITOR} /`), 'absent');
      t.like(await status(box), { closed: null, tunnel: { token: false, connector: 'inactive' } });
      t.true((await ask(box, 'set-tunnel-token', { token: TOKEN })).ok);
      t.is(
        await comes(
          () => visit(`${VISITOR} /`),
          (now) => now === 'http:200',
        ),
        'http:200',
      );

      // The box's own check sees a socket that is open to others.
      await box.exec(`chmod 0755 ${FOLDER}`);
      t.is((await ask(box, 'selfcheck', {})).result?.live, false);
      t.deepEqual([await unit('gate'), await connector('inactive')], ['inactive', 'inactive']);
      t.regex((await status(box)).closed as string, /06-cloudflare-tunnel/);
    }),
);
