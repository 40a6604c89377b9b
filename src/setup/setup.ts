import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { cacheRoot } from '../plan/cache.ts';
import { BuildError, EXIT, inputError } from '../process/errors.ts';
import { Progress } from '../process/progress.ts';
import { APT_UPDATE, aptInstall, install, installable, update } from './apt.ts';
import { DOCKER_GROUP_FIX, DOCKERD, type DockerState, dockerState, hasSystemd, startDocker } from './docker.ts';
import { guestKernels, KERNEL_PACKAGES } from './kernels.ts';
import { refuseUnsuitable } from './machine.ts';
import { allowUserNamespaces, userNamespaceFix } from './namespaces.ts';
import { installNewerQemu, NEWER_QEMU, wantsNewerQemu } from './newer-qemu.ts';
import { missing } from './present.ts';
import { asRoot, isRoot, rootCommand } from './root.ts';

export interface SetupOptions {
  /** Don't ask. */
  yes: boolean;
  /** Print what would be done, and stop. */
  plan: boolean;
}

/** One thing that isn't there, by the packages that would bring it, best first. */
interface Wanted {
  name: string;
  packages: readonly string[];
  otherwise?: string | undefined;
}

/**
 * Makes this machine able to bake and to test: installs what is missing and starts Docker where nothing runs it. What is
 * there is left alone; when all is there it takes well under a second. Says what it will do, and asks, unless it runs
 * as root, in CI or with `yes`.
 *
 * @throws BuildError where the machine isn't suitable, nobody can be asked, or a command fails.
 */
export async function setup(options: SetupOptions): Promise<void> {
  refuseUnsuitable();
  const progress = new Progress();
  const wanted = wantedPackages();
  const unreadable = guestKernels().every(({ readable }) => !readable) ? guestKernels().map(({ image }) => image) : [];
  const namespaces = await userNamespaceFix();
  const slowQemu = await wantsNewerQemu();
  // Without its programs Docker can't run yet; whether it does is asked again after the installation.
  const dockerMissing = wanted.some(({ name }) => name.startsWith('docker'));
  const docker = dockerMissing ? undefined : await dockerState();
  const dockerDown = docker?.state !== 'up' && docker?.state !== 'forbidden';

  const commands = [
    ...(wanted.length > 0 ? [APT_UPDATE, aptInstall(wanted.map(({ packages }) => packages.join('|')))] : []),
    ...(slowQemu ? NEWER_QEMU : []),
    ...(unreadable.length > 0 ? [['chmod', '0644', ...unreadable]] : []),
    ...(namespaces ? [namespaces] : []),
    ...(dockerDown ? [hasSystemd() ? ['systemctl', 'start', 'docker'] : DOCKERD] : []),
  ].map((words) => rootCommand(words).join(' '));
  if (commands.length === 0) {
    refuseForbidden(docker);
    if (options.plan) progress.say('set-up: all is there');
    return;
  }
  progress.say(`set-up: missing: ${describe(wanted, dockerDown, slowQemu)}`);
  for (const command of commands) progress.say(`  ${command}`);
  if (options.plan) return;
  await consent(options);

  if (wanted.length > 0) await installWanted(wanted, progress);
  // Asked again: where KVM works, the QEMU that is there now will do.
  if (slowQemu && (await wantsNewerQemu())) await takeNewerQemu(progress);
  if (unreadable.length > 0) await asRoot(['chmod', '0644', ...unreadable], { step: 'setup' });
  if (namespaces) await allowUserNamespaces();
  await ensureDocker(progress);
}

function wantedPackages(): Wanted[] {
  const kernel: Wanted[] =
    guestKernels().length > 0 ? [] : [{ name: 'kernel for libguestfs', packages: KERNEL_PACKAGES }];
  return [...missing().map(({ name, packages, otherwise }) => ({ name, packages, otherwise })), ...kernel];
}

function describe(wanted: readonly Wanted[], dockerDown: boolean, slowQemu: boolean): string {
  const names = [...wanted.map(({ name }) => name), ...(slowQemu ? ['a QEMU that emulates faster'] : [])];
  if (names.length === 0) return dockerDown ? 'a running Docker' : 'rights (see below)';
  return names.join(', ');
}

/** @throws inputError when the answer is no; BuildError when there is nobody to ask. */
async function consent(options: SetupOptions): Promise<void> {
  if (options.yes || isRoot() || process.env.CI) return;
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new BuildError('setup', 'there is no terminal to ask on', 'npm run setup -- --yes', {
      exitCode: EXIT.prerequisite,
    });
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await terminal.question('Run these commands? [y/N] ').finally(() => terminal.close());
  if (!/^y(es)?$/i.test(answer.trim()))
    throw inputError('setup', 'nothing was changed', 'run the commands above by hand, or npm run setup -- --yes');
}

function setupLog(): string {
  const logs = join(cacheRoot(), 'logs');
  mkdirSync(logs, { recursive: true });
  return join(logs, 'setup.log');
}

async function takeNewerQemu(progress: Progress): Promise<void> {
  const log = setupLog();
  const taken = await progress.step("QEMU from Debian's backports", () => installNewerQemu(log));
  if (!taken) progress.say(`  there are no backports here (${log}): emulation works with this QEMU too, slower`);
}

async function installWanted(wanted: readonly Wanted[], progress: Progress): Promise<void> {
  const log = setupLog();
  if (!isRoot()) await asRoot(['true'], { step: 'setup', hint: 'sudo must work for this user' });
  await progress.step('apt-get update', () => update(log));
  const known = await installable(wanted.flatMap(({ packages }) => packages));
  const chosen = wanted.map(({ name, packages, otherwise }) => {
    const found = packages.find((name) => known.has(name));
    if (found) return found;
    throw new BuildError(
      'setup',
      `apt has no package for ${name} (${packages.join(', ')})`,
      otherwise ?? "check the machine's apt sources",
      {
        log,
        exitCode: EXIT.prerequisite,
      },
    );
  });
  await progress.step(`install ${chosen.join(' ')}`, () => install([...new Set(chosen)], log));
}

async function ensureDocker(progress: Progress): Promise<void> {
  const docker = await dockerState();
  refuseForbidden(docker);
  if (docker.state === 'down') await progress.step('start Docker', startDocker);
}

/** Joining a group takes a new login, so set-up can't do it for this process. */
function refuseForbidden(docker: DockerState | undefined): void {
  if (docker?.state !== 'forbidden') return;
  throw new BuildError('setup', 'this user may not talk to Docker', DOCKER_GROUP_FIX, { exitCode: EXIT.prerequisite });
}
