import { createHash } from 'node:crypto';
import { createReadStream, existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { stripVTControlCharacters } from 'node:util';
import { type Bundle, VERDICTS } from '../../src/contract/enrolment.ts';
import { run, start } from '../../src/process/run.ts';
import { BUNDLE, consoleLines, envelope, seal } from '../unit/launch-fixture.ts';
import type { Hypervisor, Machine } from './fake.ts';
import { SMALL_BYTES } from './small-image.ts';

/** Milliseconds; QEMU and a boot sector take one second. */
const BOOT_LIMIT_MS = 20_000;

/**
 * Boots small images: in QEMU the first time, and from then on gives back what QEMU recorded of that very digest. A disk
 * with one wrong bit has another digest and is booted itself. Since a boot sector can't seal bundles, the bundle is sealed
 * here, for the image whose name the disk itself said.
 */
export class RecordedHypervisor implements Hypervisor {
  readonly #dir: string;
  readonly #hostKey: string;

  /** @param hostKey of the sshd that plays the machine's, where there is one. */
  constructor(dir: string, hostKey: string = BUNDLE.ssh.hostKeys[0] as string) {
    this.#dir = dir;
    this.#hostKey = hostKey;
    mkdirSync(dir, { recursive: true });
  }

  async boot({ disk, instanceId, userData }: { disk: string; instanceId: string; userData: string }): Promise<Machine> {
    const recorded = join(this.#dir, `${await digestOf(disk)}.console`);
    if (!existsSync(recorded)) await record(disk, recorded);
    const said = existsSync(recorded) ? stripVTControlCharacters(readFileSync(recorded, 'utf8')) : '';
    const text = await withBundle(said, { instanceId, userData, hostKey: this.#hostKey });
    return { console: () => text, off: async () => {} };
  }
}

/** Of the image's bytes; what a cloud's larger volume has behind them must be holes. */
async function digestOf(disk: string): Promise<string> {
  const { stdout } = await run('qemu-img', ['map', '-f', 'raw', '--output=json', disk], { step: 'small image' });
  const extents = JSON.parse(stdout) as { start: number; length: number; data: boolean }[];
  if (extents.some(({ start, length, data }) => data && start + length > SMALL_BYTES))
    throw new Error(`${disk} has bytes behind the image`);
  const hash = createHash('sha256');
  await pipeline(createReadStream(disk, { end: SMALL_BYTES - 1 }), hash);
  return hash.digest('hex');
}

async function record(disk: string, into: string): Promise<void> {
  const serial = `${into}.new`;
  const drive = `if=virtio,format=raw,snapshot=on,file=${disk}`;
  const args = ['-accel', 'tcg', '-m', '16', '-nodefaults', '-display', 'none', '-drive', drive];
  const qemu = start('qemu-system-x86_64', [...args, '-serial', `file:${serial}`], { stdio: 'ignore' });
  const until = Date.now() + BOOT_LIMIT_MS;
  try {
    for (;;) {
      await sleep(100);
      if (existsSync(serial) && VERDICTS.live.test(readFileSync(serial, 'utf8'))) break;
      // A disk that says nothing is a machine that says nothing.
      if (Date.now() > until) return;
    }
    renameSync(serial, into);
  } finally {
    qemu.kill('SIGKILL');
    await qemu;
  }
}

/** What the machine says, with the bundle that the image it names would seal for that user-data. */
export async function withBundle(
  said: string,
  {
    instanceId,
    userData,
    hostKey,
    ...more
  }: { instanceId: string; userData: string; hostKey: string } & Partial<Bundle>,
): Promise<string> {
  const imageId = /clawdy: image (\S+),/.exec(said)?.[1];
  const config = JSON.parse(userData.replace(/^#cloud-config\n/, '')) as { write_files: [{ content: string }] };
  const { launchId, token, recipient } = JSON.parse(config.write_files[0].content) as Record<string, string>;
  if (!imageId || !token || !recipient) return said;
  const body = { ...BUNDLE, launchId, instanceId, imageId, ssh: { ...BUNDLE.ssh, hostKeys: [hostKey] }, ...more };
  const lines = consoleLines(await seal(await envelope(body, token), recipient));
  return said.replace('clawdy: live ok', `${lines.join('\n')}\nclawdy: live ok`);
}
