import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BuildError } from '../process/errors.ts';
import { run } from '../process/run.ts';
import type { BootstrappedBase } from './bases.ts';

/** `name version` lines, sorted: what apt would install or what dpkg says is there. */
export type PackageList = string[];

const OFFLINE_HINT = "check that the distribution's archive can be reached (a proxy goes into http_proxy), then repeat";

/** Recommends are off: an image holds what somebody asked for. Documentation but the licences stays out. */
const COMMON_ARGS = [
  '--architectures=amd64',
  '--aptopt=APT::Install-Recommends "false"',
  ...['doc', 'man', 'locale', 'info'].map((dir) => `--dpkgopt=path-exclude=/usr/share/${dir}/*`),
  '--dpkgopt=path-include=/usr/share/doc/*/copyright',
];

/**
 * Asks the archive, now, for the versions that an installation of these packages would hold. The answer is part of
 * the input hash, so that a security update is a new input.
 */
export async function resolvePackages(base: BootstrappedBase, packages: string[], log: string): Promise<PackageList> {
  const dir = await mkdtemp(join(tmpdir(), 'clawdy-resolve-'));
  const file = join(dir, 'resolved');
  try {
    await mmdebstrap(
      ['--variant=custom', '--format=null', `--customize-hook=sh ${hook('resolve.sh')}`, base.suite, '-'],
      {
        log,
        env: { CLAWDY_PACKAGES: packages.join(' '), CLAWDY_RESOLVED: file },
      },
    );
    const list = readFileSync(file, 'utf8').trimEnd().split('\n');
    if (list.length < packages.length)
      throw new BuildError('resolve', 'apt resolved too few packages', OFFLINE_HINT, { log });
    return list;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** Bootstraps the pristine base as a root archive. */
export async function bootstrapBase(base: BootstrappedBase, tar: string, log: string): Promise<void> {
  await mmdebstrap(
    [
      '--variant=apt',
      ...COMMON_ARGS,
      `--include=${base.packages.join(',')}`,
      `--customize-hook=sh ${hook('contract.sh')} "$1"`,
      base.suite,
      tar,
    ],
    { log },
  );
}

/** Adds packages and another archive's files to a root archive, with the settings that the base was made with. */
export async function addPackages(
  base: BootstrappedBase,
  from: string,
  packages: string[],
  tar: string,
  log: string,
  extra: string,
): Promise<void> {
  await mmdebstrap(
    [
      '--variant=custom',
      '--skip=check/empty',
      ...COMMON_ARGS,
      `--setup-hook=tar -C "$1" --numeric-owner -xpf '${from}'`,
      ...(packages.length ? [`--include=${packages.join(',')}`] : []),
      `--customize-hook=tar -C "$1" --numeric-owner -xpf '${extra}'`,
      `--customize-hook=sh ${hook('contract.sh')} "$1"`,
      base.suite,
      tar,
    ],
    { log },
  );
}

function hook(name: string): string {
  return `'${join(import.meta.dirname, name)}'`;
}

/**
 * mmdebstrap picks root or a user namespace by itself; its own log goes to ours.
 *
 * @param more `sources`: lines of a sources.list. Without them a mirror of one's own is named by CLAWDY_MIRROR, else
 * mmdebstrap's default for the suite is used.
 */
export async function mmdebstrap(
  args: string[],
  more: { log: string; step?: string; env?: Record<string, string>; sources?: string[] },
): Promise<void> {
  const { sources = process.env.CLAWDY_MIRROR ? [process.env.CLAWDY_MIRROR] : [], ...how } = more;
  await run('mmdebstrap', ['--mode=auto', ...args, ...sources], { step: 'base', hint: OFFLINE_HINT, ...how });
}
