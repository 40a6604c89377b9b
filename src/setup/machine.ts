import { BuildError, EXIT } from '../process/errors.ts';
import { findProgram } from './present.ts';

/** Why this machine can't be set up, or undefined. */
export function unsuitable(): string | undefined {
  if (process.platform !== 'linux') return `the images are built on Linux, and this is ${process.platform}`;
  if (process.arch !== 'x64') return `the images are built on x86_64, and this is ${process.arch}`;
  if (!findProgram('apt-get') || !findProgram('dpkg'))
    return 'set-up installs Debian or Ubuntu packages, and apt is not here';
  return undefined;
}

/** @throws BuildError on a machine that set-up can't serve. */
export function refuseUnsuitable(): void {
  const reason = unsuitable();
  if (!reason) return;
  throw new BuildError(
    'setup',
    reason,
    'use a Debian 12, Debian 13 or Ubuntu 24.04 machine (x86_64), bare or virtual',
    {
      exitCode: EXIT.prerequisite,
    },
  );
}
