import { existsSync, readFileSync } from 'node:fs';
import { run } from '../process/run.ts';
import { asRoot } from './root.ts';

/**
 * What keeps an ordinary user from namespaces, by distribution: Ubuntu 24.04's AppArmor rule and Debian's older switch.
 * The set-up's change lasts until the next boot.
 */
const SWITCHES = [
  { name: 'kernel.apparmor_restrict_unprivileged_userns', allows: '0' },
  { name: 'kernel.unprivileged_userns_clone', allows: '1' },
];

/** Builds, inside throw-away namespaces, one of each thing that the test network is made of. */
const TRY_NETWORK = [
  'ip tuntap add dev t0 mode tap',
  'ip link add b0 type bridge',
  'ip link add v0 type veth peer name v1',
  'ip link set t0 master b0',
].join(' && ');

/** True when this user can make a user and a network namespace with a bridge, a tap and a veth pair in it. */
export async function canMakeLab(): Promise<boolean> {
  // -1: unshare itself isn't installed.
  const { exitCode } = await run('unshare', ['-Urn', 'sh', '-c', TRY_NETWORK], {
    step: 'doctor',
    ok: [-1, 0, 1, 2, 127],
  });
  return exitCode === 0;
}

/** The command that would allow namespaces to ordinary users, or undefined when they work or no switch explains it. */
export async function userNamespaceFix(): Promise<string[] | undefined> {
  const settings = SWITCHES.filter(({ name, allows }) => {
    const file = `/proc/sys/${name.replaceAll('.', '/')}`;
    return existsSync(file) && readFileSync(file, 'utf8').trim() !== allows;
  });
  if (settings.length === 0) return undefined;
  const { exitCode } = await run('unshare', ['-Urn', 'true'], { step: 'setup', ok: [-1, 0, 1] });
  return exitCode === 0 ? undefined : ['sysctl', '-w', ...settings.map(({ name, allows }) => `${name}=${allows}`)];
}

/** Flips the switches until the next boot. */
export async function allowUserNamespaces(): Promise<void> {
  const command = await userNamespaceFix();
  if (command) await asRoot(command, { step: 'setup' });
}
