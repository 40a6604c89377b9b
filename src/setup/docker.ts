import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { cacheRoot } from '../plan/cache.ts';
import { BuildError, EXIT } from '../process/errors.ts';
import { run } from '../process/run.ts';
import { asRoot } from './root.ts';

/** What `docker info` said: it answers, it may not be asked by this user, or nothing answers. */
export type DockerState =
  | { state: 'up'; cgroupVersion: string; privateCgroups: boolean }
  | { state: 'forbidden' | 'down' | 'absent'; reason: string };

/** dockerd needs about two seconds; ten times that on a busy machine. */
const START_LIMIT_MS = 30_000;

export const DOCKERD = ['dockerd', '--default-cgroupns-mode=private'];
export const DOCKER_GROUP_FIX = 'sudo usermod -aG docker "$USER"  # then log in again';

/** Asks Docker how it is; never throws and never starts anything. */
export async function dockerState(): Promise<DockerState> {
  const format = '{{json .CgroupVersion}} {{json .SecurityOptions}}';
  const words = ['docker', 'info', '--format', format];
  const { exitCode, stdout, stderr } = await run('timeout', ['10', ...words], { step: 'docker', ok: [0, 1, 124, 127] });
  if (exitCode === 127) return { state: 'absent', reason: 'docker is not installed' };
  // The client exits with 0 or 1, by version, when only the server is out of reach.
  if (exitCode !== 0 || !/^"\d"/.test(stdout)) {
    return {
      state: /permission denied/i.test(stderr) ? 'forbidden' : 'down',
      reason: stderr.trim() || 'docker info gave no answer in 10 s',
    };
  }
  const cgroupVersion = stdout.slice(1, 2);
  // With cgroups v2 private namespaces are Docker's default; with v1 dockerd must be told, else systemd can't boot.
  return { state: 'up', cgroupVersion, privateCgroups: cgroupVersion === '2' || stdout.includes('name=cgroupns') };
}

/** True where systemd is process 1 and therefore owns the services. */
export function hasSystemd(): boolean {
  return existsSync('/run/systemd/system');
}

/**
 * Starts Docker: by systemd where it runs, else as a detached daemon that outlives this process, with its log in the
 * cache. Only called when nothing answers, so a running dockerd is never touched.
 * @throws BuildError with the tail of dockerd's log when it doesn't answer in 30 s.
 */
export async function startDocker(): Promise<void> {
  if (hasSystemd()) {
    await asRoot(['systemctl', 'start', 'docker'], { step: 'docker' });
    return waitForDocker(undefined);
  }
  const log = join(cacheRoot(), 'logs', 'dockerd.log');
  mkdirSync(join(cacheRoot(), 'logs'), { recursive: true });
  const script = `exec setsid --fork "$@" >>'${log.replaceAll("'", "'\\''")}' 2>&1 </dev/null`;
  await asRoot(['sh', '-c', script, 'sh', ...DOCKERD], { step: 'docker' });
  await waitForDocker(log);
}

async function waitForDocker(log: string | undefined): Promise<void> {
  const until = Date.now() + START_LIMIT_MS;
  let last: DockerState = await dockerState();
  while (last.state === 'down' && Date.now() < until) {
    await sleep(300);
    last = await dockerState();
  }
  if (last.state === 'up') return;
  const tail =
    log && existsSync(log) ? readFileSync(log, 'utf8').trimEnd().split('\n').slice(-15).join('\n') : undefined;
  const hint = last.state === 'forbidden' ? DOCKER_GROUP_FIX : log ? 'read its log' : 'journalctl -u docker';
  throw new BuildError('docker', last.reason, hint, { log, tail, exitCode: EXIT.prerequisite });
}
