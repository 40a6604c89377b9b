import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../process/run.ts';
import { DOCKER_GROUP_FIX, DOCKERD, type DockerState, dockerState, hasSystemd } from '../setup/docker.ts';
import { rootCommand } from '../setup/root.ts';
import { SYSTEMD_CONTAINER } from '../verify/targets/systemd-container.ts';
import type { Check } from './check.ts';

/** Images that a bake leaves in Docker and that hold systemd, newest first. */
const BAKED_IMAGES = ['clawdy-prepared', 'clawdy-tree'];
/** systemd in a container is up after two to five seconds here. */
const BOOT_LIMIT_MS = 60_000;
const NAME = 'docker boots systemd';
const RESTART = hasSystemd() ? ['systemctl', 'restart', 'docker'] : DOCKERD;

export async function docker(): Promise<Check[]> {
  const state = await dockerState();
  const fix = state.state === 'forbidden' ? DOCKER_GROUP_FIX : 'npm run setup';
  const answers = {
    name: 'docker answers',
    ok: state.state === 'up',
    fix,
    found: state.state === 'up' ? `cgroups v${state.cgroupVersion}` : state.reason,
  };
  return [answers, await bootsSystemd(state)];
}

async function bootsSystemd(state: DockerState): Promise<Check> {
  if (state.state !== 'up') return { name: NAME, ok: false, fix: 'npm run setup', found: 'Docker does not answer' };
  if (!state.privateCgroups) {
    return {
      name: NAME,
      ok: false,
      fix: `end dockerd and start it so: ${rootCommand(DOCKERD).join(' ')}`,
      found: 'dockerd on cgroups v1 shares the host cgroup namespace with containers; systemd exits with 255 there',
    };
  }
  const image = await bakedImage();
  return image ? bootImage(image) : preconditions(state.cgroupVersion);
}

async function bakedImage(): Promise<string | undefined> {
  const filters = BAKED_IMAGES.flatMap((name) => ['--filter', `reference=${name}:*`]);
  const { stdout } = await run('docker', ['image', 'ls', '--format', '{{.Repository}}:{{.Tag}}', ...filters], {
    step: 'doctor',
  });
  return stdout.split('\n').filter((line) => line && !line.endsWith('<none>'))[0];
}

function containerArgs(): string[] {
  const { capabilities, securityOptions, tmpfs, environment } = SYSTEMD_CONTAINER;
  return [
    ...capabilities.flatMap((name) => ['--cap-add', name]),
    ...securityOptions.flatMap((option) => ['--security-opt', option]),
    ...tmpfs.flatMap((path) => ['--tmpfs', path]),
    ...Object.entries(environment).flatMap(([name, value]) => ['--env', `${name}=${value}`]),
  ];
}

/** The proof itself: systemd of a baked image must report that its boot ended. Units that fail in it don't matter here. */
async function bootImage(image: string): Promise<Check> {
  const name = `clawdy-doctor-${randomUUID()}`;
  const fix = rootCommand(RESTART).join(' ');
  try {
    await run(
      'docker',
      ['run', '--detach', '--network', 'none', '--name', name, ...containerArgs(), image, ...SYSTEMD_CONTAINER.command],
      { step: 'doctor' },
    );
    const until = Date.now() + BOOT_LIMIT_MS;
    let said = '';
    while (Date.now() < until) {
      const { stdout, stderr } = await run('docker', ['exec', name, 'systemctl', 'is-system-running'], {
        step: 'doctor',
        ok: [0, 1, 4, 126, 127],
      });
      said = (stdout || stderr).trim();
      if (/^(running|degraded)$/.test(said)) return { name: NAME, ok: true, fix, found: `booted ${image}: ${said}` };
      if (/is not running/.test(said)) break;
      await sleep(500);
    }
    return { name: NAME, ok: false, fix, found: `${image} did not finish booting: ${said}` };
  } finally {
    await run('docker', ['rm', '--force', '--volumes', name], { step: 'doctor', ok: [0, 1] });
  }
}

/**
 * Before the first bake there is no image with systemd, and none is pulled. What systemd needs is then tried with a
 * container made of the host's own shell: the capabilities are granted, tmpfs is mounted, its cgroup is writable.
 */
async function preconditions(cgroupVersion: string): Promise<Check> {
  const image = `clawdy-doctor:${randomUUID()}`;
  const fix = rootCommand(RESTART).join(' ');
  try {
    await run('sh', ['-c', IMPORT_SHELL, 'sh', image], { step: 'doctor' });
    const group = cgroupVersion === '2' ? '/sys/fs/cgroup' : '/sys/fs/cgroup/systemd';
    const words = [
      'docker',
      'run',
      '--rm',
      '--network',
      'none',
      ...containerArgs(),
      image,
      '/bin/sh',
      '-c',
      TRY_CGROUP,
      'sh',
      group,
    ];
    const { exitCode, stderr } = await run('timeout', ['60', ...words], { step: 'doctor', ok: [...Array(256).keys()] });
    const found =
      exitCode === 0
        ? 'not booted (no baked image yet); capabilities, tmpfs and a writable cgroup were proven'
        : stderr.trim();
    return { name: NAME, ok: exitCode === 0, fix, found };
  } finally {
    await run('docker', ['image', 'rm', '--force', image], { step: 'doctor', ok: [0, 1] });
  }
}

/** The host's sh, mkdir, rmdir and mount with the libraries that ldd names, as an image. */
const IMPORT_SHELL = `
set -eu
set -- "$1" /bin/sh /bin/mkdir /bin/rmdir /bin/mount
image=$1; shift
libraries=$(ldd "$@" | grep -o '/[^ :)]*\\.so[^ :)]*' | sort -u)
tar -chf - "$@" $libraries 2>/dev/null | docker import - "$image" >/dev/null
`;

/** As systemd does: remount its cgroup writable, make a group, mount a file system. */
const TRY_CGROUP = `
set -e
mkdir "$1/clawdy-doctor" 2>/dev/null || { mount -o remount,bind,rw "$1"; mkdir "$1/clawdy-doctor"; }
rmdir "$1/clawdy-doctor"
mount -t tmpfs none /run/lock
`;
