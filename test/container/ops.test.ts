import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { OPERATORS } from '../../src/contract/ops.ts';
import { ask, type Way } from '../../src/ops/channel.ts';
import { status } from '../../src/ops/status.ts';
import { run } from '../../src/process/run.ts';
import { waitForLine } from '../../src/verify/stages/ready.ts';
import { userData } from '../image.ts';
import { keys, LIVE, LIVE_LIMIT_MS, login, READY, withBox, work } from './boxes.ts';

// The operators' channel as `npm run ops` uses it: from this machine, over SSH, with an operator's key and no other.

const KEY = 'sk-or-v1-a-key-that-nobody-may-find-in-any-log';
const JOURNAL = 'journalctl --boot --no-pager --output=cat';

test.serial('operators ask, set and restart by the channel; whoever has no ops key doesn’t', async (t) => {
  const operator = join(work, 'operator');
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', operator], { step: 'test' });
  const opsKeys = [readFileSync(`${operator}.pub`, 'utf8').trim()];
  const launch = { version: 1, launchId: 'ops', userKeys: [keys.one], opsKeys };
  await withBox({ instanceId: 'i-ops', userData: userData(launch) }, async (box) => {
    const port = Number(READY.exec(await waitForLine(box, READY))?.[1]);
    const of = async (path: string) => (await box.exec(`cat /var/lib/clawdy/state/${path}`)).stdout;
    const hostKey = (await of('ssh/ssh_host_ed25519_key.pub')).split(' ').slice(0, 2).join(' ').trim();
    const way: Way = {
      ...{ instance_id: 'i-ops', address: box.addresses.v4, ops_identity_file: operator },
      ssh: { port, host_key: hostKey },
    };
    const instance_key = await of('keys/instance.pub');
    const now = () => status({ ...way, instance_key });
    await waitForLine(box, LIVE, LIVE_LIMIT_MS);
    t.like(await now(), {
      ...{ instanceId: 'i-ops', closed: null, selfcheck: { static: true, live: true }, openclaw: 'active' },
      ...{ gate: { mode: null }, openrouterKey: false, openrouterKeyDigest: null },
    });
    // Another instance's key didn't sign it.
    const other = (await box.exec('openssl genpkey -algorithm ed25519 | openssl pkey -pubout')).stdout;
    await t.throwsAsync(status({ ...way, instance_key: other }), { message: /signature isn't the instance's/ });

    t.deepEqual(await ask(way, 'set-openrouter-key', { key: KEY }), { openrouterKey: true });
    t.is((await box.exec('cat /run/clawdy/keys/key.map')).stdout.trim(), `openrouter ${KEY}`);
    t.is((await box.exec('stat -c "%u %a" /var/lib/clawdy/state/keys/openrouter.cred')).stdout.trim(), '0 600');
    t.like(await now(), { openrouterKey: true, openrouterKeyDigest: createHash('sha256').update(KEY).digest('hex') });
    for (const key of ['sk-or-short', 'sk-or-v1-with a blank in it', 7, `${KEY}\nopenrouter other`])
      await t.throwsAsync(ask(way, 'set-openrouter-key', { key }), { message: /takes \{"key": sk-or-… or null\}/ });
    t.is((await box.exec('cat /run/clawdy/keys/key.map')).stdout.trim(), `openrouter ${KEY}`, 'nothing is lost');
    t.deepEqual(await ask(way, 'set-openrouter-key', { key: null }), { openrouterKey: false });
    t.is((await box.exec('cat /run/clawdy/keys/key.map')).stdout, '');

    const ban = async (jail: string, address: string) => box.exec(`fail2ban-client set ${jail} banip ${address}`);
    await ban('clawdy-gate', '192.0.2.7');
    await ban('clawdy-gate', '2001:db8:1:2::');
    await ban('sshd', '192.0.2.7');
    t.deepEqual(await ask(way, 'unban', { address: '192.0.2.7' }), { unbanned: 2 });
    t.deepEqual(await ask(way, 'unban', { address: '2001:db8:1:2::9' }), { unbanned: 1 });
    await t.throwsAsync(ask(way, 'unban', { address: '192.0.2.0/24' }), { message: /takes \{"address"/ });

    const { lines } = (await ask(way, 'logs', { unit: 'clawdy-selfcheck-live', lines: 3 })) as { lines: string[] };
    t.is(lines.length, 3);
    t.true(
      lines.some((line) => line.includes('live ok') || line.includes('Finished')),
      lines.join('\n'),
    );
    await t.throwsAsync(ask(way, 'logs', { unit: 'systemd-journald' }), { message: /logs takes/ });
    await t.throwsAsync(ask(way, 'no-such-verb', {}), {
      message: /there is no such verb; there are: allow, bans, diagnostics, logs/,
    });
    t.like(await ask(way, 'selfcheck', {}), { live: true, closed: null });
    // What a launcher reads where a cloud shows no console.
    const { said } = (await ask(way, 'tell', {})) as { said: string };
    t.regex(said, /^clawdy: image \S+\nclawdy: checked: \d+ static checks passed\n(?:.*\n)*clawdy: live ok\n$/);

    // What is set stays over a boot: it is in the launch.json that counts.
    const launched = async () => JSON.parse((await box.exec('cat /var/lib/clawdy/state/launch.json')).stdout);
    t.deepEqual(await ask(way, 'set-user-keys', { keys: [keys.two] }), { keys: 1 });
    t.deepEqual((await launched()).userKeys, [keys.two]);
    t.deepEqual([await login(box, `${port}`, 'two'), await login(box, `${port}`, 'one')], ['clawdy', '']);
    for (const wrong of [
      ['ssh-ed25519 AAAA'],
      [`command="id" ${keys.one}`],
      [7],
      keys.one,
      [`${keys.one}\n${keys.two}`],
    ])
      await t.throwsAsync(ask(way, 'set-user-keys', { keys: wrong }), {
        message: /takes \{"keys"|none that sshd takes/,
      });
    t.deepEqual((await launched()).userKeys, [keys.two], 'nothing is lost');
    t.deepEqual(await ask(way, 'allow', { allowlist: ['192.0.2.7', '2001:db8::/32'] }), { allowlist: 2 });
    t.is((await box.exec('/usr/lib/clawdy/fail2ban/allowed ssh 192.0.2.7')).exitCode, 0);
    await t.throwsAsync(ask(way, 'allow', { allowlist: ['everywhere'] }), { message: /allowlist/ });
    t.is((await box.exec('/usr/lib/clawdy/fail2ban/allowed ssh 192.0.2.7')).exitCode, 0);
    // Recipient and token go together, and this instance was launched without.
    await t.throwsAsync(ask(way, 'set-recipient', { recipient: `age1${'q'.repeat(58)}` }), { message: /token/ });
    const told = (await ask(way, 'diagnostics', {})) as { closed: unknown; failedUnits: string[]; said: string[] };
    // A container can't remount its root.
    t.deepEqual([told.closed, told.failedUnits], [null, ['systemd-remount-fs.service']]);
    t.true(
      told.said.some((line) => line.includes('live ok')),
      told.said.join('\n'),
    );
    t.false(JSON.stringify(told).includes(KEY));

    // The user's key isn't an operator's, and the other way round.
    const user = join(work, 'user');
    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', user], { step: 'test' });
    await t.throwsAsync(ask({ ...way, ops_identity_file: user }, 'status', {}), { message: /Permission denied/ });
    const impostor = { ...way, ssh: { port, host_key: `ssh-ed25519 ${'A'.repeat(68)}` } };
    await t.throwsAsync(ask(impostor, 'status', {}), { message: /Host key verification failed/ });

    // An operator's key is replaced by way of both: alone, a wrong one would shut everybody out.
    const next = join(work, 'next');
    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', next], { step: 'test' });
    const nextKey = readFileSync(`${next}.pub`, 'utf8').trim();
    await t.throwsAsync(ask(way, 'set-ops-keys', { keys: [nextKey] }), { message: /has to stay/ });
    await t.throwsAsync(ask(way, 'set-ops-keys', { keys: [] }), { message: /has to stay/ });
    t.deepEqual(await ask(way, 'set-ops-keys', { keys: [...opsKeys, nextKey] }), { keys: 2 });
    const nextWay = { ...way, ops_identity_file: next };
    t.deepEqual(await ask(nextWay, 'set-ops-keys', { keys: [nextKey] }), { keys: 1 });
    await t.throwsAsync(ask(way, 'status', {}), { message: /Permission denied/ });

    // Each is in the journal, and nothing of what was given.
    const journal = (await box.exec(JOURNAL)).stdout;
    t.regex(journal, /ops: set-openrouter-key for uid 7863: done/);
    t.regex(journal, /ops: set-openrouter-key for uid 7863: refused/);
    t.false(journal.includes(KEY));
    t.false((await box.exec(`grep -rlF ${KEY.slice(9)} /var/log /run /var/lib/clawdy || :`)).stdout.includes('/'));
    t.is(
      (await box.exec(`stat -c %G:%a /run/clawdy-ops.sock && id -u ${OPERATORS.name}`)).stdout,
      'clawdy-ops:660\n7863\n',
    );
  });
});
