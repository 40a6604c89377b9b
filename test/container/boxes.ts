import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { imageTag } from '../../src/verify/stages/container.ts';
import { ASLEEP, ASLEEP_FILE } from '../../src/verify/stages/stage.ts';
import { ContainerNetwork, ContainerPeer, ContainerTarget } from '../../src/verify/targets/container.ts';
import { IMAGE_DIR } from '../image.ts';

// What the tests of boots share: boxes of the image, a peer beside them, and facts looked up on the box itself.

export const READY = /clawdy: ready ssh_port=(\d+) host_key=(SHA256:\S+)/;
export const LIVE = /clawdy: live ok/;
/** Milliseconds. Four boxes that start OpenClaw at once have taken three minutes on two slow cores. */
export const LIVE_LIMIT_MS = 600_000;
const SETTLE_LIMIT_MS = 400_000;
export const TOKEN = 'a-token-that-must-not-be-shown-0123456789abcdef';

type BootOptions = Partial<Omit<Parameters<typeof ContainerTarget.boot>[0], 'before'>> & {
  /** Runs in the tree before systemd does. */
  spoil?: string;
  /** Without OpenClaw, which takes both processors for half a minute: for tests of what comes before it. */
  asleep?: boolean;
};

export let work: string;
export let tag: string;
export let network: ContainerNetwork;
export let peer: ContainerPeer;
/** Public keys of two pairs that the peer holds: /var/tmp/one and /var/tmp/two. */
export const keys = { one: '', two: '' };

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

/** Boots a box, lets the body look at it and throws it away. */
export async function withBox<T>(
  { spoil, asleep, ...options }: BootOptions,
  body: (box: ContainerTarget) => Promise<T>,
  file = { target: '/var/tmp/nothing', source: join(work, 'nothing') },
): Promise<T> {
  const command = [asleep && ASLEEP, spoil].filter(Boolean).join(' && ');
  const before = command ? { before: { file, command } } : {};
  const box = await ContainerTarget.boot({ image: tag, network, ...options, ...before });
  try {
    return await body(box);
  } finally {
    await box.close();
  }
}

/**
 * Waits until the boot has come to its end, good or bad: no step, sshd, OpenClaw or network still has a job. The live check waits
 * for OpenClaw: on a box where that sleeps it isn't waited for.
 */
export async function settled(box: ContainerTarget): Promise<string> {
  const end = Date.now() + SETTLE_LIMIT_MS;
  for (;;) {
    // In one call: each costs more than what it asks.
    const look = `jobs=$(systemctl list-jobs --plain --no-legend); code=$?
      [ ! -e ${ASLEEP_FILE} ] || jobs=$(printf '%s\\n' "$jobs" | grep -v clawdy-selfcheck-live)
      printf '%s\\n' "$jobs"; echo ---; journalctl --boot --output=cat --no-pager; exit $code`;
    const { exitCode, stdout: all } = await box.exec(look);
    const [stdout = '', console = ''] = all.split(/^---$/m, 2);
    // cloud-init's last stage isn't waited for: where the lockdown failed, it waits for stages that never come.
    const busy = exitCode !== 0 || /clawdy-|ssh\.|openclaw\.|networkd/.test(stdout);
    if (!busy && /clawdy: (ready|closed)/.test(console)) return console;
    if (Date.now() > end)
      throw new Error(`the boot never ended: ${stdout}${console.split('\n').slice(-15).join('\n')}`);
    await new Promise((resolve) => setTimeout(resolve, 1500));
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

export async function facts(box: ContainerTarget): Promise<Facts> {
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
export const SHUT = { openclaw: 'never', ssh: 'inactive', opened: [] } as const;

/** A closed box's reason; all of them in one string. */
export function reasons(console: string): string {
  return (console.match(/clawdy: closed: .*/g) ?? []).join('\n');
}

/** Who the peer is on the box after logging in with one of its keys; empty if it is refused. */
export async function login(box: ContainerTarget, port: string, key: keyof typeof keys): Promise<string> {
  const options =
    '-o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o IdentitiesOnly=yes -o ConnectTimeout=20';
  const { stdout } = await peer.exec(`ssh ${options} -i /var/tmp/${key} -p ${port} clawdy@${box.addresses.v4} id -un`);
  return stdout.trim();
}

/** The port, host key and tokens that an instance made for itself. */
export async function secrets(box: ContainerTarget): Promise<Record<string, string>> {
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
