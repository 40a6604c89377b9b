import { setTimeout as sleep } from 'node:timers/promises';
import { BuildError } from '../../process/errors.ts';
import type { Target } from '../targets/target.ts';

/** Milliseconds until a container must have finished first boot; it takes about five seconds on two idle cores. */
const READY_LIMIT_MS = 300_000;

/** Seconds that a look from inside lasts before it is begun anew. */
const LOOK_S = 100;

/**
 * Waits until the box says something on its console. This waits on readiness, never on a security outcome.
 * @param line of a form that grep -P knows too.
 * @throws BuildError with the console's end: when it closed itself, or when time is up.
 */
export async function waitForLine(target: Target, line: RegExp, limitMs = READY_LIMIT_MS): Promise<string> {
  const end = Date.now() + limitMs;
  for (;;) {
    const console = await target.console();
    if (line.test(console)) return console;
    const closed = /clawdy: closed: .*/.exec(console)?.[0];
    if (closed || Date.now() > end) {
      const said = console.trimEnd().split('\n').slice(-15).join('\n');
      throw new BuildError('boot', closed ?? `the box never said ${line}`, 'read what it said', { tail: said });
    }
    await lookInside(target, line, Math.min(LOOK_S, Math.ceil((end - Date.now()) / 1000)));
  }
}

/**
 * Waits in the box itself: a call into a container costs more than all the looks that it spares. Whatever comes of it, the console
 * is read and judged by the caller.
 */
async function lookInside(target: Target, { source }: RegExp, seconds: number): Promise<void> {
  const look = 'journalctl --boot --output=cat --no-pager | grep -qP -- "$WANTED|clawdy: closed: "';
  const wait = `end=$(($(date +%s) + ${seconds})); until ${look} || [ "$(date +%s)" -ge "$end" ]; do sleep 1; done`;
  const { exitCode } = await target.exec(wait, { env: { WANTED: source }, timeout: (seconds + 20) * 1000 });
  // Its systemd hasn't got so far yet.
  if (exitCode !== 0) await sleep(1000);
}

/** During a claim the box's own repeated check would answer the sabotage, by stopping what is looked at. */
export async function stopChecks(target: Target): Promise<void> {
  await target.exec('systemctl stop clawdy-selfcheck-live.timer');
}
