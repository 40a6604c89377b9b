/**
 * Proves the lab itself on any bootable disk of a plain Debian or Ubuntu (cloud-init, sshd on 22, nft, Python, no firewall):
 *   node src/verify/lab/selftest.ts <disk.qcow2> [bios|uefi]
 * By hand, after a change to the lab: the VM tests rest on what it shows.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { renderError } from '../../process/errors.ts';
import { Progress } from '../../process/progress.ts';
import { type Lab, openLab } from './lab.ts';
import type { Peer } from './namespaces.ts';
import { scanPorts } from './scan.ts';

const BOOT_MS = 240_000;
const LOGIN = /login: $/m;

async function selftest(lab: Lab, disk: string, firmware: 'bios' | 'uefi'): Promise<void> {
  const progress = new Progress();
  const attacker = lab.peer('attacker');
  const vm = await progress.step('switch on', () => lab.bootVm({ disk, name: 'selftest', firmware }));
  await progress.step('login', () => vm.waitForConsole(LOGIN, BOOT_MS));

  await progress.step('both addresses answer the attacker', async () => {
    for (const address of Object.values(vm.addresses)) {
      assert.equal(await echoes(attacker, address), true);
    }
  });
  await progress.step('the attacker has no way out', async () => {
    const { stdout } = await attacker.exec('ip', ['route', 'show', 'default']);
    assert.equal(stdout, '');
  });
  await progress.step('root channel', async () => {
    const who = await vm.exec('id -u; cat; echo err >&2; exit 7', { input: 'umlaut ü\n' });
    assert.deepEqual(who, { exitCode: 7, stdout: '0\numlaut ü\n', stderr: 'err\n' });
  });
  await progress.step('root channel: time limit, 1 MB of output, a file', async () => {
    assert.equal((await vm.exec('sleep 60', { timeoutMs: 2000 })).exitCode, 124);
    assert.equal((await vm.exec('head -c 1000000 /dev/zero | tr "\\0" x')).stdout.length, 1_000_000);
    await vm.put('/run/selftest/file', 'hello', 0o600);
    assert.equal((await vm.exec('stat -c %a /run/selftest/file; cat /run/selftest/file')).stdout, '600\nhello');
  });
  for (const address of Object.values(vm.addresses)) {
    await progress.step(`scan ${address}: what the guest itself says it listens on`, async () => {
      const listening = await vm.exec(
        `ss -Hltn${address.includes(':') ? 6 : 4} | awk '$4 !~ /^(127\\.|\\[::1\\])/ { sub(/.*:/, "", $4); print $4 }' | sort -nu`,
      );
      const expected = listening.stdout.trim().split('\n').map(Number);
      assert.ok(expected.includes(22), listening.stdout);
      assert.deepEqual(await scanPorts(attacker, address), expected);
    });
  }
  await progress.step('scan a guest that drops: a listener on 54321 is still found', async () => {
    const rules =
      'table inet t { chain c { type filter hook input priority 0; policy drop; iif lo accept; meta l4proto ipv6-icmp accept; tcp dport 54321 accept; }; }';
    assert.equal(
      (
        await vm.exec('nft -f - || exit 1; nohup python3 -m http.server -b :: 54321 >/dev/null 2>&1 &', {
          input: rules,
        })
      ).exitCode,
      0,
    );
    await vm.exec('for i in $(seq 50); do ss -Hltn | grep -q :54321 && break; sleep 0.2; done');
    assert.deepEqual(await scanPorts(attacker, vm.addresses.v4), [54321]);
    assert.deepEqual(await scanPorts(attacker, vm.addresses.v6), [54321]);
    await vm.exec('nft delete table inet t; pkill -f http.server');
  });

  await progress.step('save', () => vm.save('ready'));
  await vm.exec('touch /root/after /run/after; sync');
  await progress.step('restore', () => vm.restore('ready'));
  await progress.step('the saved moment is back', async () => {
    assert.equal((await vm.exec('ls /root/after /run/after')).stdout, '');
    const drift = Math.abs(Number((await vm.exec('date +%s')).stdout) - Date.now() / 1000);
    assert.ok(drift < 10, `clock is off by ${drift} s`);
    assert.equal(await echoes(attacker, vm.addresses.v4), true);
  });

  const bootId = () => vm.exec('cat /proc/sys/kernel/random/boot_id').then(({ stdout }) => stdout.trim());
  const before = await bootId();
  await vm.exec('touch /root/written; sync');
  await progress.step('power cut, on again', async () => {
    await vm.powerCut();
    assert.equal(vm.on, false);
    await vm.powerOn();
    await vm.waitForConsole(LOGIN, BOOT_MS);
  });
  await progress.step('what was synced is there, another boot', async () => {
    assert.equal((await vm.exec('ls /root/written')).stdout, '/root/written\n');
    assert.notEqual(await bootId(), before);
  });
  await progress.step('reboot by the guest', async () => {
    const old = await bootId();
    await vm.reboot();
    await vm.waitForConsole(LOGIN, BOOT_MS);
    assert.notEqual(await bootId(), old);
  });
  await progress.step('restore after a power cut', async () => {
    await vm.powerCut();
    await vm.restore('ready');
    assert.equal(await bootId(), before);
    assert.equal((await vm.exec('ls /root/written')).exitCode, 2);
  });
  await progress.step('shut down', () => vm.shutdown());
}

/** An ICMP echo by nmap, which the project needs anyway. */
async function echoes(peer: Peer, address: string): Promise<boolean> {
  const family = address.includes(':') ? ['-6'] : [];
  const { stdout } = await peer.exec('nmap', ['-n', '-sn', '-PE', '--disable-arp-ping', ...family, address]);
  return stdout.includes('Host is up');
}

/** Processes whose command line holds the lab's traces. */
function leftovers(pattern: RegExp): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return `${pid} ${readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')}`;
      } catch {
        return ''; // ended meanwhile
      }
    })
    .filter((line) => pattern.test(line));
}

const [disk, firmware = 'bios'] = process.argv.slice(2);
if (!disk || (firmware !== 'bios' && firmware !== 'uefi')) {
  process.stderr.write('usage: selftest.ts <disk.qcow2> [bios|uefi]\n');
  process.exit(2);
}
const lab = await openLab();
const pids = [lab.host, lab.peer('attacker')].map(({ holder }) => holder.pid);
try {
  await selftest(lab, disk, firmware);
} catch (error) {
  process.stderr.write(`${renderError(error)}\n`);
  process.exitCode = 1;
} finally {
  await lab.close();
  const left = leftovers(new RegExp(`${lab.work}/|^(${pids.join('|')}) |--target (${pids.join('|')}) `));
  process.stderr.write(
    left.length === 0 ? '✔ closed: no process and so no namespace is left\n' : `✖ left behind:\n${left.join('\n')}\n`,
  );
  if (left.length > 0) process.exitCode = 1;
}
