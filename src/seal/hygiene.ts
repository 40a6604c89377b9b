import type { Entry, Ext4 } from './ext4.ts';

/** Paths that must not be on a sealed disk, each with what it would give away. Matched against the whole tree. */
const ABSENT: [RegExp, string][] = [
  [/^\/etc\/ssh\/ssh_host_/, 'a host key shared by all instances'],
  [/\/\.ssh\/|\/authorized_keys2?$/, 'a way in that belongs to the build'],
  [/^\/(root|home\/[^/]+)\/\.(bash_history|cache|viminfo|wget-hsts|lesshst)/, "the build's history"],
  [/^\/home\/./, 'a user that belongs to the build'],
  [/^\/etc\/hostname$/, "the build's host name"],
  [/^\/var\/lib\/dbus\/machine-id$/, 'a machine id shared by all instances'],
  [/^\/var\/lib\/systemd\/(random-seed|credential\.secret)$/, 'a secret shared by all instances'],
  [/^\/var\/lib\/cloud\/./, "cloud-init's state: a first boot would look like a second one"],
  [/^\/etc\/netplan\/|cloud-init\.(yaml|conf|network)$/, "the build's network"],
  [/^\/etc\/(iscsi\/initiatorname\.iscsi|nvme\/host(id|nqn))$/, 'a storage identity shared by all instances'],
  [/ssl-cert-snakeoil/, 'a private key shared by all instances'],
  [/^\/var\/lib\/apt\/lists\/(?!partial$|auxfiles$)./, 'stale package lists'],
  [/^\/var\/cache\/apt\/archives\/(?!partial$|lock$)./, 'downloaded packages'],
  [/^\/(var\/)?tmp\/./, 'leftovers of the build'],
  [/^\/run\/./, 'leftovers of a boot'],
  [/^\/var\/lib\/clawdy\/./, "state that only an instance's first boot may make"],
];

/** What a closed disk holds that it must not. Empty when it is clean. */
export async function unclean(disk: Ext4, entries: Entry[]): Promise<string[]> {
  const faults = entries.flatMap(({ path }) =>
    ABSENT.filter(([pattern]) => pattern.test(path)).map(([, why]) => `${path}: ${why}`),
  );
  for (const { path, type } of entries) {
    if (type === 'file' && path.startsWith('/var/log/')) faults.push(`${path}: a log of the build`);
  }
  const machineId = entries.find(({ path }) => path === '/etc/machine-id');
  if (machineId?.size !== 0) faults.push('/etc/machine-id: must be there and empty (machine-id(5))');
  return [...faults, ...(await openAccounts(disk))];
}

/** Accounts that a password would open: anything in shadow that isn't locked. */
async function openAccounts(disk: Ext4): Promise<string[]> {
  const shadow = (await disk.read('/etc/shadow')).toString().trim().split('\n');
  if (shadow.length < 5) return ["/etc/shadow: can't be read"];
  return shadow.flatMap((line) => {
    const [name = '', password = ''] = line.split(':');
    return /^[!*]/.test(password) ? [] : [`/etc/shadow: ${name} has a password or none at all`];
  });
}

/** Texts of the build that must be nowhere on the raw disk, deleted files included. */
export function needlesOf(build: { publicKey: string; console: string }): string[] {
  const blobs = [build.publicKey, ...build.console.matchAll(/(?:ssh-(?:rsa|ed25519)|ecdsa-sha2-\S+) (AAAA\S+)/g)].map(
    (match) => (typeof match === 'string' ? (match.split(' ')[1] ?? '') : (match[1] as string)),
  );
  return [...new Set(blobs.filter((blob) => blob.length > 40))];
}
