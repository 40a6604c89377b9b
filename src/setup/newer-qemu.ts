import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { probeAccelerator } from '../doctor/accelerator.ts';
import { cacheRoot } from '../plan/cache.ts';
import { run } from '../process/run.ts';
import { APT_UPDATE, aptInstall } from './apt.ts';
import { findProgram } from './present.ts';
import { asRoot } from './root.ts';

/**
 * Debian 12's own QEMU translates what programs share, libc say, anew for each process, and starts over when 1 GiB is full.
 * One image booted to `clawdy: ready` on the same two cores in 182 to 192 s (6 million blocks); with 10.0 in 126 to 162 s (1 million).
 */
const SLOW = /version 7\./;
const RELEASE = 'bookworm-backports';
const SOURCE = '/etc/apt/sources.list.d/clawdy-backports.sources';
const PACKAGES = ['qemu-system-x86', 'qemu-utils'];

/** As https://backports.debian.org/Instructions/ has it: nothing comes from there unless it is asked for by name. */
const CONTENT = `Types: deb
URIs: http://deb.debian.org/debian
Suites: ${RELEASE}
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
`;

const INSTALL = aptInstall(['--target-release', RELEASE, ...PACKAGES]);

/** The commands that bring the newer QEMU, as a person could type them. */
export const NEWER_QEMU = [['tee', SOURCE, `<<'EOF'\n${CONTENT}EOF`], APT_UPDATE, INSTALL];

/** Written where there are no backports, so that nobody is asked again. */
const without = () => join(cacheRoot(), 'no-backports');

/** Whether this is a Debian 12 that has to emulate, and its QEMU isn't the newer one yet. */
export async function wantsNewerQemu(): Promise<boolean> {
  if (!/^VERSION_CODENAME=bookworm$/m.test(readFileSync('/etc/os-release', 'utf8'))) return false;
  if (existsSync(without())) return false;
  if (!findProgram('qemu-system-x86_64')) return true;
  const { stdout } = await run('qemu-system-x86_64', ['--version'], { step: 'setup' });
  return SLOW.test(stdout) && (await probeAccelerator()) === 'tcg';
}

/**
 * Adds Debian's backports to apt's sources and takes QEMU from there.
 *
 * @param log all that apt says.
 * @returns false, with the source removed again, where this machine's network has no backports: 7.2 works, slower.
 */
export async function installNewerQemu(log: string): Promise<boolean> {
  const step = 'setup';
  await asRoot(['tee', SOURCE], { step, input: CONTENT, log });
  // 100: some source, not necessarily this one, could not be read. Whether this one could is asked next.
  await asRoot(APT_UPDATE, { step, log, ok: [0, 100] });
  const { exitCode } = await asRoot([...INSTALL, '--simulate'], { step, log, ok: [0, 100] });
  if (exitCode === 0) {
    await asRoot(INSTALL, { step, log });
    return true;
  }
  await asRoot(['rm', '-f', SOURCE], { step, log });
  mkdirSync(dirname(without()), { recursive: true });
  writeFileSync(
    without(),
    `${new Date().toISOString()} ${RELEASE} could not be had: see ${log}; delete this file to try again\n`,
  );
  return false;
}
