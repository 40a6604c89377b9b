import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { run, runNow } from '../../../src/process/run.ts';

/** Files under loop devices of this process are in folders of this name; the process ID tells whose they are. */
export const FOLDER = join(tmpdir(), `clawdy-hetzner-fake-${process.pid}-`);
const ANY_FOLDER = new RegExp(`^${join(tmpdir(), 'clawdy-hetzner-fake-')}(\\d+)-`);

/** Why there can't be a loop device; undefined where there can. */
export function whyNoLoop(): string | undefined {
  if (process.getuid?.() !== 0) return 'loop devices are root’s';
  return existsSync('/dev/loop-control') ? undefined : 'this kernel has no loop devices';
}

/** One loop device of the host, under which files come and go: a container that was given it keeps it. */
export class Loop {
  readonly device: string;
  readonly #idle: string;

  private constructor(device: string, idle: string) {
    this.device = device;
    this.#idle = idle;
  }

  /** @param idle a file that is under the device while nothing else is, so that nobody takes its number. */
  static async create(idle: string): Promise<Loop> {
    await sweep();
    for (let tries = 0; ; tries++) {
      // Far from where others' `losetup --find` looks, which takes the lowest.
      const device = `/dev/loop${100 + Math.floor(Math.random() * 900)}`;
      const { exitCode } = await run('losetup', [device, idle], { step: 'loop', ok: tries < 5 ? [0, 1] : [0] });
      if (exitCode !== 0) continue;
      process.once('exit', () => runNow('losetup', ['--detach', device]));
      return new Loop(device, idle);
    }
  }

  /** Puts a file under the device, instead of what was. */
  async hold(file = this.#idle): Promise<void> {
    await run('losetup', ['--detach', this.device], { step: 'loop', ok: [0, 1] });
    // Whoever still had it open delays the detaching.
    for (let tries = 0; tries < 50; tries++) {
      const { exitCode } = await run('losetup', [this.device, file], { step: 'loop', ok: tries < 49 ? [0, 1] : [0] });
      if (exitCode === 0) return;
      await sleep(50);
    }
  }

  async close(): Promise<void> {
    await run('losetup', ['--detach', this.device], { step: 'loop', ok: [0, 1] });
  }
}

/** Detaches what processes left that were killed; nobody else's. */
async function sweep(): Promise<void> {
  const { stdout } = await run('losetup', ['--list', '--noheadings', '--output', 'NAME,BACK-FILE'], { step: 'loop' });
  for (const line of stdout.split('\n')) {
    const [device, file] = line.trim().split(/\s+/);
    const pid = ANY_FOLDER.exec(file ?? '')?.[1];
    if (device && pid && !existsSync(`/proc/${pid}`))
      await run('losetup', ['--detach', device], { step: 'loop', ok: [0, 1] });
  }
}
