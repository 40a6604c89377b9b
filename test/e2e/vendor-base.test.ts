import { mkdirSync, mkdtempSync, readlinkSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { execa } from 'execa';
import type { BakeResult } from '../../src/bake/bake.ts';
import { readImage } from '../../src/manifest/image.ts';
import { cacheRoot } from '../../src/plan/cache.ts';
import { type Lab, openLab } from '../../src/verify/lab/lab.ts';
import { scanPorts } from '../../src/verify/lab/scan.ts';
import { trouble } from '../../src/verify/lab/trouble.ts';
import type { Vm } from '../../src/verify/lab/vm.ts';
import { ROOT, userData } from '../image.ts';
import { LIMITS, LIVE, waitReady } from '../vm/machine.ts';
import { DEFAULT_USER, makeVendorBase, VENDOR } from './vendor-base.ts';
import { makeTestKey, type TestKey } from './vendor-site.ts';

/**
 * A base in a vendor's shape goes the whole way that Ubuntu's image goes: list, signature, checksum, our partitions,
 * apt in the guest, bake, seal, boot. It is evidence for Ubuntu, not proof (docs/adr/0010-vendor-bases.md).
 */
mkdirSync(cacheRoot(), { recursive: true });
// Not /tmp, which is memory on many machines: disks lie here.
const work = mkdtempSync(join(cacheRoot(), 'clawdy-vendor-'));
const site = join(work, 'site');
const project = join(work, 'project');
let key: TestKey;
let definition: string;
let lab: Lab;

test.before(async () => {
  mkdirSync(site);
  await execa('git', ['clone', '--quiet', ROOT, project]);
  symlinkSync(join(ROOT, 'node_modules'), join(project, 'node_modules'));
  key = await makeTestKey('vendor');
  definition = await makeVendorBase(site, work, key);
  lab = await openLab();
});

test.after.always(async () => {
  await lab?.close();
  await key?.close();
  rmSync(work, { recursive: true, force: true });
});

const bake = (...flags: string[]) =>
  execa('node', ['build.ts', 'bake', '--base', definition, '--base-mirror', site, ...flags], {
    cwd: project,
    env: { CI: '1' },
    stderr: ['pipe', 'inherit'],
    reject: false,
  });

/** GiB of the machines' disks: more than either image has, so that something can grow. */
const DISK_GIB = 8;

/** Bytes of the partition that a path lies on. */
async function partitionBytes(vm: Vm, path: string): Promise<number> {
  return Number((await vm.exec(`lsblk -bnro SIZE "$(findmnt -no SOURCE ${path})"`)).stdout);
}

test.serial("the control: the vendor's image opens port 22, makes its user, and grows its root", async (t) => {
  const vm = await lab.bootVm({ disk: join(site, VENDOR.image), name: 'vendor', diskGiB: DISK_GIB });
  t.teardown(() => vm.close());
  await vm.waitForConsole(/Cloud-init v.* finished at/, LIMITS.ready);
  // systemd-resolved may have opened a port of its own by then.
  t.true((await scanPorts(lab.peer('attacker'), vm.addresses.v4)).includes(22));
  t.is((await vm.exec(`id -un ${DEFAULT_USER}`)).stdout.trim(), DEFAULT_USER);
  t.true((await partitionBytes(vm, '/')) > 7 * 1024 ** 3);
});

test.serial('without the key that signed it the base is refused', async (t) => {
  const { exitCode, stderr } = await bake('--plan');
  t.is(exitCode, 1);
  t.regex(stderr, /isn't signed by/);
});

let image: string;

/** Milliseconds; seen: 870 s on two busy cores without KVM, most of it apt's upgrades (a kernel among them) in the guest. */
const BAKE_LIMIT_MS = 45 * 60_000;

test.serial('it is baked by the way that a vendor goes', async (t) => {
  t.timeout(BAKE_LIMIT_MS);
  const { exitCode, stdout } = await bake('--base-key', key.file, '--json');
  t.is(exitCode, 0);
  const result = JSON.parse(stdout) as BakeResult;
  t.deepEqual(
    result.steps.map(({ name }) => name.split(' ')[0]).filter((name) => name !== 'runtime'),
    ['fetch', 'resolve', 'prepare', 'packer', 'seal'],
  );
  image = result.path;
  t.is(readlinkSync(join(project, 'dist', `latest-${VENDOR.id}`)), result.id);
  const { base, packages } = readImage(image);
  t.is(base.vendor?.image, VENDOR.image);
  t.is(base.vendor?.sha256, base.sha256);
  t.is(base.fallback, undefined);
  t.true(packages.some((line) => line.startsWith('ufw ')));
  t.true(packages.some((line) => line.startsWith('cloud-initramfs-growroot ')));
});

test.serial('containers are shown what is on the disk: its tree and the root are the same files', async (t) => {
  const { exitCode, all } = await execa('ava', ['test/container/tree.test.ts'], {
    cwd: project,
    preferLocal: true,
    all: true,
    reject: false,
  });
  t.is(exitCode, 0, all);
});

test.serial('a box of it is as closed as any: its own port alone, no vendor user, only the state grows', async (t) => {
  const vm = await lab.bootVm({
    disk: join(image, 'disk.qcow2'),
    name: 'box',
    userData: userData({}),
    diskGiB: DISK_GIB,
  });
  t.teardown(() => vm.close());
  const { port } = await waitReady(vm);
  t.not(port, 22);
  t.deepEqual(await scanPorts(lab.peer('attacker'), vm.addresses.v4), [port]);
  t.deepEqual(await scanPorts(lab.peer('attacker'), vm.addresses.v6), [port]);
  t.not((await vm.exec(`id ${DEFAULT_USER}`)).exitCode, 0);
  t.is((await vm.exec('ls /home')).stdout.trim(), '');
  t.is((await vm.exec('systemctl is-enabled ssh.socket')).stdout.trim(), 'masked');
  const shells = await vm.exec("grep -Ev ':(/usr)?/s?bin/(nologin|false|sync)$' /etc/passwd | cut -d: -f1 | sort");
  t.deepEqual(shells.stdout.trim().split('\n'), ['clawdy', 'root']);
  const unlocked = await vm.exec("awk -F: '$2 !~ /^[!*]/ { print $1 }' /etc/shadow");
  t.is(unlocked.stdout, '');
  t.is(await partitionBytes(vm, '/'), VENDOR.rootMiB * 1024 ** 2);
  t.true((await partitionBytes(vm, '/var/lib/clawdy')) > 2.5 * 1024 ** 3);
  await vm.waitForConsole(LIVE, LIMITS.live);
  t.deepEqual(trouble(vm.console()), []);
  t.is((await vm.exec('systemctl list-units --failed --no-legend --plain')).stdout.trim(), '');
});
