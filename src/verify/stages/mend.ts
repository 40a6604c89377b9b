import { BuildError } from '../../process/errors.ts';
import type { Touched } from '../claims/schema.ts';
import type { Target } from '../targets/target.ts';

interface Part {
  /** Files, and folders with all that is in them; also those that an attempt makes. Words of a shell. */
  files: string[];
  /** Folders of which only mode and owner may change. */
  folders?: string[];
  /** What has them count again: a command. */
  again: string;
}

const ATTEMPTS = "systemctl stop 'attack-*.service'";
const JAILS_RUN = '/usr/lib/clawdy/checks/live.d/04-fail2ban-jails';
/** Where a ban is what the attack is to get, one that came of guesses of before would make the claim pass. */
const NO_GUESSES = `! journalctl --quiet --output=cat --unit=clawdy-gate.service --unit=ssh.service |
  grep -qE ' status=4|Failed |Invalid user|authenticating user'`;
/** Addresses that attempts have given to the box. */
const LOOPBACK = 'ip -4 address flush dev lo scope global && ip -6 address flush dev lo scope global';

/** What claims of a part may change, attempts and sabotage alike. */
const PARTS: Record<Touched, Part> = {
  gate: {
    files: ['/usr/lib/clawdy/gate', '/run/clawdy/ports.d'],
    again: 'systemctl restart clawdy-gate.service && /usr/lib/clawdy/firewall/apply-ports',
  },
  ssh: {
    files: [
      '/etc/ssh',
      '/etc/passwd',
      '/etc/shadow',
      '/etc/systemd/system/ssh.socket',
      '/run/clawdy/ports.d',
      '/usr/lib/clawdy/checks',
      '/usr/lib/clawdy/ops',
    ],
    // With it the sshds that attempts have started beside ours, and the ports that were opened for them.
    again: `${ATTEMPTS} && /usr/lib/clawdy/firewall/apply-ports && systemctl daemon-reload &&
      systemctl stop ssh.socket && systemctl restart ssh.service clawdy-ops.socket`,
  },
  bans: {
    files: ['/etc/fail2ban', '/run/clawdy/launch.json', '/usr/lib/clawdy/fail2ban', '/usr/lib/clawdy/gate'],
    // A new memory, and a new journal: it reads ten minutes back (jail.conf(5), findtime), and would find the guesses of the
    // claim before, also those that the journal's daemon has yet to read.
    again: `systemctl stop fail2ban.service && rm -f /var/lib/clawdy/state/fail2ban/* && systemctl restart clawdy-gate.service ssh.service &&
      /usr/lib/clawdy/fail2ban/ban-gate flush && /usr/lib/clawdy/fail2ban/ban-ssh flush &&
      journalctl --sync && journalctl --quiet --rotate --vacuum-time=1s && ${NO_GUESSES} && systemctl start fail2ban.service &&
      ${JAILS_RUN}`,
  },
  ranges: { files: ['/usr/lib/clawdy/cloudflare', '/var/lib/clawdy/state/cloudflare'], again: ':' },
  keys: {
    files: [
      '/etc/ssl/certs/ca-certificates.crt',
      '/run/attack*',
      '/run/systemd/system/clawdy-keys.service.d',
      '/usr/lib/clawdy/keys',
      '/var/lib/clawdy/state/keys',
    ],
    // With it the host beside the box that attempts have made, and what leads there. /etc/hosts is a mount of Docker's.
    again: `${ATTEMPTS} && ${LOOPBACK} && { ip link delete attack0 2>/dev/null || :; } &&
      hosts=$(sed '/openrouter\\.ai/d' /etc/hosts) && printf '%s\\n' "$hosts" >/etc/hosts &&
      nft -f /usr/lib/clawdy/keys/table.nft && systemctl daemon-reload && systemctl restart clawdy-keys.service`,
  },
  account: {
    files: [
      '/etc/passwd /etc/shadow /etc/group /etc/gshadow /etc/subuid /etc/subgid /etc/sudoers',
      '/etc/systemd/system/user@7860.service',
      '$(readlink -f /usr/bin/python3)',
      '/usr/bin/ssh-agent',
      '/usr/lib/clawdy/session',
    ],
    folders: ['/var/lib/clawdy'],
    // A new start of the gate gives it its files anew.
    again: `${ATTEMPTS} && ${LOOPBACK} && nft -f /usr/lib/clawdy/metadata/table.nft && systemctl daemon-reload &&
      systemctl restart clawdy-gate.service`,
  },
};
/** After a mend no ban is left that would stay without it. */
const NO_BANS = 'systemctl stop fail2ban.service';
const KEPT = '/var/tmp/clawdy-parts.tar';

/**
 * Makes a box ready to be attacked more than once. Without fail2ban, whose bans outlast a claim, but for claims about those:
 * what it would keep away too must then be stopped by the part alone.
 * @throws BuildError when that can't be done; the box is of no use then.
 */
export async function keepParts(target: Target, touched: Touched): Promise<void> {
  const parts = Object.values(PARTS);
  const files = parts.flatMap((part) => part.files).join(' ');
  const folders = parts.flatMap((part) => part.folders ?? []).join(' ');
  await must(
    target,
    `${touched === 'bans' ? JAILS_RUN : NO_BANS} || exit 1; set --; for file in ${files}; do [ ! -e "$file" ] || set -- "$@" "$file"; done
    tar -cPf ${KEPT} --no-recursion ${folders} --recursion "$@"`,
  );
}

/** Ends what attempts have started, which no unit of systemd's has: all that came in by Docker, but this very command. */
const END_PLANTED = `grep -LE '\\.(slice|scope)' /proc/[0-9]*/cgroup 2>/dev/null | while IFS=/ read -r _ _ pid _; do
  case $pid in 1 | $$ | $PPID) ;; *) [ ! -e "/proc/$pid/exe" ] || kill -9 "$pid" 2>/dev/null || : ;; esac
done`;

/**
 * Puts a part back as it was: its files, a new process (with the gate's go its counters, and workers that a reload left), and
 * nothing that was planted.
 *
 * A box that isn't whole again can't make a claim pass: a hole that is still open fails the next attack, a way that is still
 * shut the next control or the next sabotage.
 */
export async function mend(target: Target, touched: Touched): Promise<void> {
  const { files, again } = PARTS[touched];
  await must(
    target,
    `rm -rf -- ${files.join(' ')} && tar -xpPf ${KEPT} || exit 1
    ${END_PLANTED}
    ${again}`,
  );
}

/** Makes a box that was put back fit for claims of another part. @throws BuildError as mend. */
export async function turn(target: Target, from: Touched, to: Touched): Promise<void> {
  if ((from === 'bans') !== (to === 'bans')) await must(target, to === 'bans' ? PARTS.bans.again : NO_BANS);
}

async function must(target: Target, command: string): Promise<void> {
  const { exitCode, stderr } = await target.exec(command);
  if (exitCode !== 0)
    throw new BuildError('claims', "the box can't be put back", 'see what it said; the next claim gets a new box', {
      tail: stderr,
    });
}
