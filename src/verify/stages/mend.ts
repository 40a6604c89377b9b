import { AGENT } from '../../contract/box.ts';
import { BuildError } from '../../process/errors.ts';
import type { Target } from '../targets/target.ts';

/** The gate's own files, as the image brought them; no claim that is mended may touch others. */
const FILES = '/usr/lib/clawdy/gate';
const KEPT = '/var/tmp/clawdy-gate.tar';

/**
 * Makes a box ready to be attacked more than once. Without fail2ban, whose bans outlast a claim: what it would keep away too
 * must then be stopped by the gate alone.
 * @throws BuildError when that can't be done; the box is of no use then.
 */
export async function keepGate(target: Target): Promise<void> {
  await must(target, `systemctl stop fail2ban.service && tar -C ${FILES} -cf ${KEPT} .`);
}

/**
 * Puts the gate back as it was: its files, a new process (with it go its counters, and workers that a reload left), and no app
 * of the agent's but OpenClaw.
 *
 * A box that isn't whole again can't make a claim pass: a hole that is still open fails the next attack, a way that is still
 * shut the next control or the next sabotage.
 */
export async function mendGate(target: Target): Promise<void> {
  await must(
    target,
    `find ${FILES} -mindepth 1 -delete && tar -C ${FILES} -xpf ${KEPT} && systemctl restart clawdy-gate.service
    for pid in $(pgrep -U ${AGENT.uid}); do grep -q openclaw.service "/proc/$pid/cgroup" || kill -9 "$pid"; done`,
  );
}

async function must(target: Target, command: string): Promise<void> {
  const { exitCode, stderr } = await target.exec(command);
  if (exitCode !== 0)
    throw new BuildError('claims', "the gate can't be put back", 'see what it said', { tail: stderr });
}
