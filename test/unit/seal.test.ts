import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, openSync, symlinkSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { execa } from 'execa';
import { BLOCK_BYTES, digestDisk } from '../../src/seal/digest.ts';
import { Ext4 } from '../../src/seal/ext4.ts';
import { needlesOf, unclean } from '../../src/seal/hygiene.ts';
import { parsePackages } from '../../src/seal/seal.ts';

const dir = () => mkdtempSync(join(tmpdir(), 'clawdy-seal-'));

test('the digest is of the whole disk, blocks only of what is written, and a needle across two blocks is found', async (t) => {
  const file = join(dir(), 'disk.raw');
  writeFileSync(file, '');
  truncateSync(file, 3 * BLOCK_BYTES + 1000);
  writeSync(openSync(file, 'r+'), 'NEEDLE-IN-THE-DISK', BLOCK_BYTES * 2 - 7);
  const digest = await digestDisk(file, ['NEEDLE-IN-THE-DISK', 'not there']);
  const { stdout } = await execa('sha256sum', [file]);
  t.is(digest.raw, stdout.slice(0, 64));
  t.is(digest.size, 3 * BLOCK_BYTES + 1000);
  t.deepEqual(Object.keys(digest.blocks), ['1', '2']);
  const second = Buffer.alloc(BLOCK_BYTES);
  second.write('IN-THE-DISK');
  t.is(digest.blocks[2], createHash('sha256').update(second).digest('hex'));
  t.deepEqual(digest.found, [{ needle: 'NEEDLE-IN-THE-DISK', block: 2 }]);
});

const OFFSET = 1024 * 1024;

async function fileSystem(fill: (tree: string) => void): Promise<Ext4> {
  const work = dir();
  const tree = join(work, 'tree');
  mkdirSync(join(tree, 'etc'), { recursive: true });
  writeFileSync(join(tree, 'etc/machine-id'), '');
  writeFileSync(
    join(tree, 'etc/shadow'),
    ['root', 'daemon', 'bin', 'sys', 'clawdy'].map((name) => `${name}:!*:20000::::::\n`).join(''),
  );
  fill(tree);
  const raw = join(work, 'disk.raw');
  writeFileSync(raw, '');
  truncateSync(raw, 40 * OFFSET);
  await execa('mke2fs', ['-q', '-F', '-t', 'ext4', '-E', `offset=${OFFSET}`, '-d', tree, raw, '32M']);
  return new Ext4(raw, OFFSET);
}

test('a closed file system is listed and read, odd names included', async (t) => {
  const disk = await fileSystem((tree) => {
    writeFileSync(join(tree, 'etc/an "odd" name'), 'inside', { mode: 0o640 });
    symlinkSync('/etc/machine-id', join(tree, 'etc/link'));
  });
  const entries = await disk.list();
  t.deepEqual(
    entries.map(({ path, type, size }) => [path, type, size]),
    [
      ['/etc', 'dir', 0],
      ['/etc/an "odd" name', 'file', 6],
      ['/etc/link', 'link', 0],
      ['/etc/machine-id', 'file', 0],
      ['/etc/shadow', 'file', 102],
    ],
  );
  t.is(entries[1]?.mode, '0640');
  t.is((await disk.read('/etc/an "odd" name')).toString(), 'inside');
  t.deepEqual(await unclean(disk, entries), []);
});

const leftovers: [string, string][] = [
  ['etc/ssh/ssh_host_ed25519_key', 'key'],
  ['root/.ssh/authorized_keys', 'key'],
  ['var/lib/cloud/instance/user-data.txt', 'x'],
  ['var/log/syslog', 'x'],
  ['var/lib/systemd/random-seed', 'x'],
  ['var/lib/systemd/credential.secret', 'x'],
  ['etc/nvme/hostid', 'x'],
  ['etc/iscsi/initiatorname.iscsi', 'x'],
  ['etc/ssl/private/ssl-cert-snakeoil.key', 'x'],
  ['var/lib/apt/lists/some_InRelease', 'x'],
  ['root/.bash_history', 'x'],
  ['home/build/x', 'x'],
  ['etc/machine-id', '0123456789abcdef0123456789abcdef\n'],
  ['etc/shadow', `root:$y$j9T$abc:20000::::::\n${['a', 'b', 'c', 'd'].map((name) => `${name}:!:1::::::\n`).join('')}`],
  ['var/lib/clawdy/state/x', 'x'],
];

for (const [path, content] of leftovers) {
  test(`the seal's check finds /${path}`, async (t) => {
    const disk = await fileSystem((tree) => {
      mkdirSync(join(tree, path, '..'), { recursive: true });
      writeFileSync(join(tree, path), content);
    });
    const faults = await unclean(disk, await disk.list());
    t.true(
      faults.some((fault) => fault.startsWith(`/${path}`)),
      faults.join('\n'),
    );
  });
}

test("the build's public keys become needles", (t) => {
  const blob = `AAAAC3NzaC1lZDI1NTE5${'x'.repeat(48)}`;
  const host = `AAAAE2VjZHNhLXNoYTItbmlz${'y'.repeat(48)}`;
  t.deepEqual(
    needlesOf({
      publicKey: `ssh-ed25519 ${blob} clawdy-bake`,
      console: `ci-info: x\necdsa-sha2-nistp256 ${host} root@bake\r\n`,
    }),
    [blob, host],
  );
});

test('dpkg status is parsed, and what is only configured is left out', (t) => {
  const paragraph = (name: string, state: string) => `Package: ${name}\nStatus: ${state}\nVersion: 1.0-1\n`;
  t.deepEqual(
    parsePackages(
      [
        paragraph('b', 'install ok installed'),
        paragraph('a', 'install ok installed'),
        paragraph('c', 'deinstall ok config-files'),
      ].join('\n'),
    ),
    ['a 1.0-1', 'b 1.0-1'],
  );
});
