import { BuildError } from '../../process/errors.ts';
import type { Touched } from '../claims/schema.ts';
import type { Target } from '../targets/target.ts';

/** What claims of a part may change, attempts and sabotage alike, and what has it count again once it is put back. */
const PARTS: Record<Touched, { files: string[]; restart: string }> = {
  gate: { files: ['/usr/lib/clawdy/gate'], restart: 'systemctl restart clawdy-gate.service' },
  ssh: {
    files: ['/etc/ssh', '/etc/shadow', '/run/clawdy/ports.d'],
    // With it the sshds that attempts have started beside ours, and the ports that were opened for them.
    restart:
      "systemctl stop 'attack-*.service' && /usr/lib/clawdy/firewall/apply-ports && systemctl restart ssh.service",
  },
  ranges: { files: ['/usr/lib/clawdy/cloudflare', '/var/lib/clawdy/state/cloudflare'], restart: ':' },
};
const KEPT = '/var/tmp/clawdy-parts.tar';

/**
 * Makes a box ready to be attacked more than once. Without fail2ban, whose bans outlast a claim: what it would keep away too
 * must then be stopped by the part alone.
 * @throws BuildError when that can't be done; the box is of no use then.
 */
export async function keepParts(target: Target): Promise<void> {
  const files = Object.values(PARTS)
    .flatMap((part) => part.files)
    .join(' ');
  await must(
    target,
    `systemctl stop fail2ban.service; for file in ${files}; do [ ! -e "$file" ] || echo "$file"; done | tar -cPf ${KEPT} -T -`,
  );
}

/** Ends what attempts have started, which no unit of systemd's has: all that came in by Docker, but this very command. */
const END_PLANTED = `for pid in $(ls /proc | grep -E '^[0-9]+$'); do
  case $pid in 1 | $$ | $PPID) continue ;; esac
  grep -qE '\\.(slice|scope)' "/proc/$pid/cgroup" 2>/dev/null || [ ! -e "/proc/$pid/exe" ] || kill -9 "$pid" 2>/dev/null || :
done`;

/**
 * Puts a part back as it was: its files, a new process (with the gate's go its counters, and workers that a reload left), and
 * nothing that was planted.
 *
 * A box that isn't whole again can't make a claim pass: a hole that is still open fails the next attack, a way that is still
 * shut the next control or the next sabotage.
 */
export async function mend(target: Target, touched: Touched): Promise<void> {
  const { files, restart } = PARTS[touched];
  await must(
    target,
    `rm -rf -- ${files.join(' ')} && tar -xpPf ${KEPT} || exit 1
    ${END_PLANTED}
    ${restart}`,
  );
}

async function must(target: Target, command: string): Promise<void> {
  const { exitCode, stderr } = await target.exec(command);
  if (exitCode !== 0) throw new BuildError('claims', "the box can't be put back", 'see what it said', { tail: stderr });
}
