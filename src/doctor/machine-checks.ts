import { existsSync, readFileSync, statfsSync } from 'node:fs';
import { userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { cacheRoot } from '../plan/cache.ts';
import { guestKernels, KERNEL_PACKAGES, readableKernel } from '../setup/kernels.ts';
import { unsuitable } from '../setup/machine.ts';
import { canMakeLab, userNamespaceFix } from '../setup/namespaces.ts';
import { FREE_DISK_GIB, PREREQUISITES } from '../setup/prerequisites.ts';
import { findProgram, isPresent } from '../setup/present.ts';
import { isRoot, rootCommand } from '../setup/root.ts';
import type { Check } from './check.ts';

/** The project's root: this file is in its src/doctor. */
const ROOT = join(import.meta.dirname, '..', '..');
const GiB = 1024 ** 3;
/** TypeScript without a loader, and what testcontainers and AVA ask for. */
const NODE_MAJOR = 24;

export function machine(): Check {
  const reason = unsuitable();
  return {
    name: 'machine',
    ok: !reason,
    fix: 'use Debian 12, 13 or Ubuntu 24.04 on x86_64',
    found: reason ?? 'Linux, x86_64, apt',
  };
}

export function node(): Check {
  const major = Number(process.versions.node.split('.')[0]);
  return {
    name: 'node',
    ok: major >= NODE_MAJOR,
    fix: 'npm ci, then start it by npm run or make',
    found: process.versions.node,
  };
}

/** Compares what is installed with the lockfile; optional packages of other platforms may be absent. */
export function dependencies(): Check {
  const wanted = lockedVersions(join(ROOT, 'package-lock.json'));
  const installed = lockedVersions(join(ROOT, 'node_modules', '.package-lock.json'));
  const wrong = [...wanted].filter(([path, { version, optional }]) => {
    const found = installed.get(path)?.version;
    return found === undefined ? !optional : found !== version;
  });
  const found =
    wrong.length === 0
      ? `${installed.size} packages as locked`
      : `${wrong.length} missing or stale, e.g. ${wrong[0]?.[0]}`;
  return { name: 'npm packages', ok: wrong.length === 0, fix: 'npm ci', found };
}

function lockedVersions(file: string): Map<string, { version: string; optional: boolean }> {
  if (!existsSync(file)) return new Map();
  const lock = JSON.parse(readFileSync(file, 'utf8')) as {
    packages: Record<string, { version?: string; optional?: boolean }>;
  };
  const entries = Object.entries(lock.packages).filter(([path]) => path !== '');
  return new Map(entries.map(([path, { version = '', optional = false }]) => [path, { version, optional }]));
}

/** One check a program or package, from the list that set-up installs. */
export function programs(): Check[] {
  return PREREQUISITES.map((prerequisite) => {
    const { name, programs = [], oneOf = [], files = [], packages, otherwise, why } = prerequisite;
    const places = [...[...programs, ...oneOf].map(findProgram), ...files.filter((file) => existsSync(file))].filter(
      Boolean,
    );
    const fix = `npm run setup  # ${packages.join(' or ')}: ${why}${otherwise ? `; ${otherwise}` : ''}`;
    return { name, ok: isPresent(prerequisite), fix, found: places.join(', ') || 'missing' };
  });
}

/** Enough room where the cache is and where `dist/` is, counted once if that is one file system. */
export function freeDisk(): Check[] {
  const places = [
    { name: 'free disk (cache)', dir: existing(cacheRoot()) },
    { name: 'free disk (dist)', dir: existing(join(ROOT, 'dist')) },
  ];
  return places.map(({ name, dir }) => {
    const { bavail, bsize } = statfsSync(dir);
    const free = (bavail * bsize) / GiB;
    const fix = name.includes('cache')
      ? 'npm run clean -- --cache, or set XDG_CACHE_HOME to a larger disk'
      : 'npm run clean';
    return {
      name,
      ok: free >= FREE_DISK_GIB,
      fix: `${fix}  # ${FREE_DISK_GIB} GiB are needed`,
      found: `${free.toFixed(1)} GiB at ${dir}`,
    };
  });
}

function existing(dir: string): string {
  return existsSync(dir) ? dir : existing(dirname(dir));
}

export async function rootlessLab(): Promise<Check> {
  const ok = await canMakeLab();
  const command = ok ? undefined : await userNamespaceFix();
  const fix = command
    ? rootCommand(command).join(' ')
    : 'sudo modprobe -a tun bridge veth; /dev/net/tun must be open to this user (mode 0666)';
  return {
    name: 'rootless network lab',
    ok,
    fix,
    found: ok ? 'unshare -Urn made a tap, a bridge and a veth pair' : 'could not be made',
  };
}

/** mmdebstrap without root maps the owners of a whole system into this range. */
export function subordinateIds(): Check {
  const user = userInfo().username;
  const has = (file: string) =>
    existsSync(file) &&
    readFileSync(file, 'utf8')
      .split('\n')
      .some((line) => line.startsWith(`${user}:`));
  const ok = isRoot() || (has('/etc/subuid') && has('/etc/subgid'));
  const fix = `sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ${user}`;
  return {
    name: 'subordinate ids',
    ok,
    fix,
    found: isRoot() ? 'not needed as root' : ok ? `of ${user}` : `none for ${user}`,
  };
}

export function kernel(): Check {
  const found = readableKernel();
  const unreadable = guestKernels().map(({ image }) => image);
  const fix =
    unreadable.length > 0
      ? rootCommand(['chmod', '0644', ...unreadable]).join(' ')
      : rootCommand(['apt-get', 'install', '--no-install-recommends', KERNEL_PACKAGES.join('|')]).join(' ');
  return {
    name: 'kernel for libguestfs',
    ok: found !== undefined,
    fix,
    found: found?.image ?? (unreadable.length > 0 ? 'only root may read it' : 'none in /boot with its modules'),
  };
}
