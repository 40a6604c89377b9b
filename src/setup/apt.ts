import { run } from '../process/run.ts';
import { asRoot } from './root.ts';

/** A fresh machine often runs its own upgrades just after boot: wait five minutes for their lock rather than fail. */
const LOCK = ['-o', 'DPkg::Lock::Timeout=300'];

export const APT_UPDATE = ['apt-get', ...LOCK, 'update'];
export const aptInstall = (packages: readonly string[]): string[] => [
  'env',
  'DEBIAN_FRONTEND=noninteractive',
  'apt-get',
  ...LOCK,
  'install',
  '--yes',
  '--no-install-recommends',
  ...packages,
];

/** The packages of a list that apt could install now, by one `apt-cache policy`. */
export async function installable(packages: readonly string[]): Promise<Set<string>> {
  const { stdout } = await run('apt-cache', ['policy', ...packages], { step: 'setup', env: { LC_ALL: 'C' } });
  const found = new Set<string>();
  // A package is `name:` in column 0, followed by an indented `Candidate: version` or `Candidate: (none)`.
  for (const [, name = '', candidate] of stdout.matchAll(/^(\S+):\n(?:[ ].*\n)*?[ ]+Candidate: (\S+)/gm)) {
    if (candidate !== '(none)') found.add(name);
  }
  return found;
}

export async function update(log: string): Promise<void> {
  await asRoot(APT_UPDATE, { step: 'setup', log, hint: 'apt-get update must work on this machine first' });
}

export async function install(packages: readonly string[], log: string): Promise<void> {
  await asRoot(aptInstall(packages), { step: 'setup', log });
}
