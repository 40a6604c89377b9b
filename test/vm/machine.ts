import { join } from 'node:path';
import type { Vm } from '../../src/verify/lab/vm.ts';
import { IMAGE_DIR } from '../image.ts';

/** The image's disk; the lab only ever puts an overlay over it. */
export const DISK = join(IMAGE_DIR, 'disk.qcow2');

/** Emulated, on two busy cores: sshd after about a minute, OpenClaw after two to four. */
export const LIMITS = { ready: 420_000, live: 1_800_000 } as const;

export const READY = /clawdy: ready ssh_port=(\d+) host_key=(SHA256:\S+)/;
/** Said by the box before it opens anything. */
export const CHECKED = /clawdy: static checks passed: \d+; SSH may open/;
/** The same of 443. */
export const LIVE_CHECKED = /clawdy: live checks passed: \d+; 443 may open/;
export const LIVE = /clawdy: live ok/;

export async function waitReady(vm: Vm): Promise<{ port: number; hostKey: string }> {
  const match = await vm.waitForConsole(READY, LIMITS.ready);
  return { port: Number(match[1]), hostKey: match[2] as string };
}

/**
 * Everything an instance made for itself, as `path → digest`: all of root's state but the record of bans, and what the
 * system keeps elsewhere.
 * Two instances must share none of the digests.
 */
export async function secretsOf(vm: Vm): Promise<Map<string, string>> {
  const { stdout } = await vm.exec(
    'find /var/lib/clawdy/state /etc/machine-id /var/lib/systemd/random-seed /var/lib/systemd/credential.secret /etc/ssh -type f -newer /usr/lib/clawdy/image.json -not -name "fail2ban.sqlite3*" 2>/dev/null -print0 | xargs -0 sha256sum',
  );
  return new Map(
    stdout
      .trim()
      .split('\n')
      .map((line) => [line.slice(66), line.slice(0, 64)]),
  );
}
