/**
 * Which form should the runtime have on the disk: a plain tree, squashfs or erofs? And does it start when pruned?
 *
 *   node test/bench/runtime-form.ts
 *
 * Bytes, seconds to make, and seconds from `systemctl start` to OpenClaw's readiness in a guest of the newest image, each
 * with cold caches and after a first start. docs/adr/0008 holds the figures that decided.
 */
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { cacheRoot } from '../../src/plan/cache.ts';
import { run } from '../../src/process/run.ts';
import { openLab } from '../../src/verify/lab/lab.ts';
import type { Vm } from '../../src/verify/lab/vm.ts';
import { userData } from '../image.ts';
import { DISK, LIMITS, LIVE, waitReady } from '../vm/machine.ts';

const RUNTIME = '/usr/lib/clawdy/runtime';
/** What nothing at run time should read: types, source maps, documentation. */
const PRUNE = ['*.d.ts', '*.d.mts', '*.d.cts', '*.map', '*.md'];

interface Row {
  form: string;
  bytes: number;
  /** To make it from the tree. */
  makeSeconds: number;
  /** Two starts in the guest; undefined where it didn't start. */
  startSeconds: (number | undefined)[];
}

async function timed<T>(work: () => Promise<T>): Promise<[T, number]> {
  const from = performance.now();
  const result = await work();
  return [result, Math.round((performance.now() - from) / 100) / 10];
}

/** The runtime's tree as it was packed for the newest image. */
async function unpack(into: string): Promise<void> {
  const runtimes = join(cacheRoot(), 'runtime');
  const newest = readdirSync(runtimes)
    .map((name) => join(runtimes, name))
    .sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)[0] as string;
  const tar = readdirSync(newest).find((name) => name.endsWith('.tar')) as string;
  await run('tar', ['-C', into, '--strip-components=4', '-xf', join(newest, tar)], { step: 'unpack' });
}

async function du(path: string): Promise<number> {
  const { stdout } = await run('du', ['-s', '--block-size=1', path], { step: 'size' });
  return Number(stdout.split('\t')[0]);
}

/** Stops OpenClaw, empties the page cache, and times its start until it says that it is ready. */
async function start(vm: Vm): Promise<number | undefined> {
  const script = `systemctl stop openclaw.service; systemctl reset-failed openclaw.service; sync; echo 3 >/proc/sys/vm/drop_caches
from=$(date +%s%N); systemctl start openclaw.service || exit 1
for i in $(seq 600); do
  if python3 -c "import urllib.request as u; u.urlopen('http://127.0.0.1:7860/readyz', timeout=5)" 2>/dev/null; then
    echo $(( ($(date +%s%N) - from) / 100000000 )); exit 0
  fi
  systemctl is-active --quiet openclaw.service || exit 1
  sleep 1
done; exit 1`;
  const { stdout, exitCode } = await vm.exec(script, { timeoutMs: 1_200_000 });
  return exitCode === 0 ? Number(stdout.trim()) / 10 : undefined;
}

const work = mkdtempSync(join(cacheRoot(), 'bench-'));
const lab = await openLab();
try {
  const rows: Row[] = [];
  const trees: [string, string][] = [];
  for (const name of ['tree', 'pruned']) {
    const dir = join(work, name);
    await run('mkdir', [dir], { step: 'unpack' });
    const [, makeSeconds] = await timed(() => unpack(dir));
    if (name === 'pruned') {
      const names = PRUNE.flatMap((pattern, index) => [...(index ? ['-o'] : []), '-name', pattern]);
      await run('find', [dir, '-type', 'f', '(', ...names, ')', '-delete'], { step: 'prune' });
    }
    rows.push({ form: name, bytes: await du(dir), makeSeconds, startSeconds: [] });
    trees.push([name, dir]);
  }
  const makers: [string, (tree: string, file: string) => [string, string[]]][] = [
    [
      'squashfs zstd',
      (tree, file) => ['mksquashfs', [tree, file, '-comp', 'zstd', '-Xcompression-level', '15', '-no-progress']],
    ],
    ['squashfs lz4', (tree, file) => ['mksquashfs', [tree, file, '-comp', 'lz4', '-no-progress']]],
    ['erofs lz4hc', (tree, file) => ['mkfs.erofs', ['-zlz4hc', file, tree]]],
  ];
  const files: string[] = [];
  for (const [form, maker] of makers) {
    for (const [name, dir] of trees) {
      if (name === 'pruned' && form !== 'squashfs zstd') continue;
      const file = join(work, `${files.length}.img`);
      const [program, args] = maker(dir, file);
      const [, makeSeconds] = await timed(() => run(program, args, { step: form }));
      rows.push({ form: `${form}, ${name}`, bytes: statSync(file).size, makeSeconds, startSeconds: [] });
      files.push(file);
    }
  }
  // The plain pruned tree travels as an ext4 image, since a guest's root has no room for a second one.
  const pruned = join(work, `${files.length}.img`);
  await run('mke2fs', ['-q', '-t', 'ext4', '-d', join(work, 'pruned'), pruned, '900M'], { step: 'ext4' });
  files.push(pruned);

  const drives = files.flatMap((file) => ['-drive', `if=virtio,format=raw,readonly=on,file=${file}`]);
  const vm = await lab.bootVm({ disk: DISK, name: 'bench', userData: userData({}), extraArgs: drives });
  await waitReady(vm);
  await vm.waitForConsole(LIVE, LIMITS.live);
  await vm.exec('systemctl stop clawdy-selfcheck-live.timer');
  // vda is the disk, vdb the seed.
  const devices = files.map((_, index) => `/dev/vd${String.fromCharCode('c'.charCodeAt(0) + index)}`);
  const forms: [Row, string | undefined][] = [
    [rows[0] as Row, undefined],
    ...rows.slice(2).map((row, index): [Row, string] => [row, devices[index] as string]),
    [rows[1] as Row, devices.at(-1) as string],
  ];
  // Forms in turn, twice, so that what the machine does otherwise falls on all of them.
  for (let round = 0; round < 2; round++) {
    for (const [row, device] of forms) {
      if (device) await vm.exec(`systemctl stop openclaw.service; mount -o ro ${device} ${RUNTIME}`);
      const seconds = await start(vm);
      row.startSeconds.push(seconds);
      process.stderr.write(`${row.form}: ${seconds ?? 'did not start'}\n`);
      if (device) await vm.exec(`systemctl stop openclaw.service; umount ${RUNTIME}`);
    }
  }
  process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
} finally {
  await lab.close();
  rmSync(work, { recursive: true, force: true });
}
