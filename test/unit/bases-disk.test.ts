import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test from 'ava';
import { labelled, readPartitions } from '../../src/bake/partitions.ts';
import { reshapeVendorDisk } from '../../src/bake/vendor-disk.ts';
import { loadBase, type VendorBase } from '../../src/base/bases.ts';
import type { VendorImage } from '../../src/base/vendor.ts';
import { applyAnswer } from '../../src/base/vendor-packages.ts';
import { cacheDir } from '../../src/plan/cache.ts';
import { hashFile } from '../../src/plan/hash.ts';
import { BuildError } from '../../src/process/errors.ts';
import { run } from '../../src/process/run.ts';

const work = mkdtempSync(join(tmpdir(), 'clawdy-disk-'));
process.env.XDG_CACHE_HOME = join(work, 'cache');
const log = join(work, 'log');
const MiB = 1024 * 1024;
const base: VendorBase = { ...(loadBase('ubuntu-24.04') as VendorBase), rootMiB: 2048 };

test.after.always(() => rmSync(work, { recursive: true, force: true }));

/** In the cache: `[number, label, MiB]` one after another from the first MiB on, each an ext4 of that label. */
async function vendorDisk(name: string, parts: [number, string, number][]): Promise<VendorImage> {
  const raw = join(work, `${name}.raw`);
  writeFileSync(raw, '');
  truncateSync(raw, (2 + parts.reduce((sum, [, , size]) => sum + size, 0)) * MiB);
  let start = 1;
  for (const [number, label, size] of parts) {
    await run('sgdisk', [`--new=${number}:${start}MiB:+${size}MiB`, raw], { step: 'test' });
    const place = ['-E', `offset=${start * MiB}`, raw, `${size}M`];
    await run('mke2fs', ['-q', '-F', '-t', 'ext4', '-L', label, ...place], { step: 'test' });
    start += size;
  }
  const image = join(work, `${name}.img`);
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, image], { step: 'test' });
  return inCache(image);
}

/** As `fetchVendor` leaves it. */
async function inCache(image: string): Promise<VendorImage> {
  const sha256 = await hashFile(image);
  const file = join(cacheDir('vendor', sha256), 'vendor.img');
  mkdirSync(dirname(file), { recursive: true });
  renameSync(image, file);
  return { file, sha256, from: work };
}

test.serial(
  'a vendor disk gets a root of fixed size and the state behind it; the rest stays where it was',
  async (t) => {
    const image = await vendorDisk('good', [
      [16, 'BOOT', 64],
      [1, 'cloudimg-rootfs', 100],
    ]);
    const raw = join(work, 'shaped.raw');
    await reshapeVendorDisk(base, image, raw, 'ab'.repeat(16), log);
    const partitions = await readPartitions(raw, 'test');
    t.deepEqual(
      partitions.map(({ number, label, start, size }) => [number, label, start / MiB, size / MiB]),
      [
        [16, 'BOOT', 1, 64],
        [1, 'cloudimg-rootfs', 65, 2048],
        [2, 'clawdy-state', 2113, 958],
      ],
    );
    t.is(statSync(raw).size, 3072 * MiB);
    t.is(labelled(partitions, 'clawdy-state', 'test').number, 2);
    const state = `${raw}?offset=${2113 * MiB}`;
    t.is((await run('e2fsck', ['-f', '-n', state], { step: 'test' })).exitCode, 0);
    t.is((await run('sgdisk', ['--verify', raw], { step: 'test' })).stdout.includes('No problems found'), true);
  },
);

test.serial('a disk whose root has something behind it, is too large, or is called otherwise is refused', async (t) => {
  const shape = (image: VendorImage, of = base) =>
    reshapeVendorDisk(of, image, join(work, 'x.raw'), 'ab'.repeat(16), log);
  const behind = await vendorDisk('behind', [
    [1, 'cloudimg-rootfs', 100],
    [2, 'BOOT', 64],
  ]);
  await t.throwsAsync(shape(behind), { message: /isn't the last partition/ });
  const alone = await vendorDisk('alone', [[1, 'cloudimg-rootfs', 100]]);
  await t.throwsAsync(shape(alone, { ...base, rootMiB: 50 }), { message: /has 100 MiB already/ });
  await t.throwsAsync(shape(alone, { ...base, rootLabel: 'other' }), {
    message: /0 file systems are labelled other \(there are: cloudimg-rootfs\)/,
  });
  const twice = await vendorDisk('twice', [
    [1, 'cloudimg-rootfs', 64],
    [2, 'cloudimg-rootfs', 64],
  ]);
  await t.throwsAsync(shape(twice), { message: /2 file systems are labelled/ });
});

test.serial('an image that changed in the cache is refused, and is there no more', async (t) => {
  const image = await vendorDisk('changed', [[1, 'cloudimg-rootfs', 64]]);
  appendFileSync(image.file, 'x');
  const raw = join(work, 'changed-out.raw');
  const error = await t.throwsAsync(reshapeVendorDisk(base, image, raw, 'ab'.repeat(16), log));
  t.true(error instanceof BuildError);
  t.regex(error.message, /the cached image has SHA-256 [0-9a-f]{64}, its vendor signed [0-9a-f]{64}/);
  t.false(existsSync(dirname(image.file)));
  t.false(existsSync(raw));
});

test.serial('an image of another format than qcow2 is refused, whatever its first bytes say', async (t) => {
  const file = join(work, 'raw.img');
  writeFileSync(file, Buffer.alloc(MiB));
  const raw = join(work, 'probed.raw');
  const error = await t.throwsAsync(reshapeVendorDisk(base, await inCache(file), raw, 'ab'.repeat(16), log));
  t.regex((error as BuildError).tail ?? '', /not in qcow2 format/);
});

test("what apt said it would do is applied to the image's own packages", (t) => {
  const answer = 'Inst ufw 0.36.2-1\nRemv gone\nInst libc6 2.36-9+deb12u1\n';
  t.deepEqual(applyAnswer(['gone 1', 'libc6 2.36-9', 'stays 3'], answer), {
    resolved: ['libc6 2.36-9+deb12u1', 'stays 3', 'ufw 0.36.2-1'],
    install: ['libc6=2.36-9+deb12u1', 'ufw=0.36.2-1'],
  });
});
