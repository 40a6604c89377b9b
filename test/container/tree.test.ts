import { createHash } from 'node:crypto';
import { createReadStream, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import test from 'ava';
import { extract } from 'tar-stream';
import { imageTree } from '../../src/bake/tree.ts';
import { workFolder } from '../../src/plan/work-folder.ts';
import { run } from '../../src/process/run.ts';
import { rawDisk, rootOf } from '../../src/seal/closed-disk.ts';
import { Ext4 } from '../../src/seal/ext4.ts';
import { IMAGE_DIR, imageUnderTest } from '../image.ts';

/**
 * Where a booted disk may differ from a tree that only scripts have touched. Each with its reason.
 */
const DISK_ONLY: [RegExp, string][] = [
  [/^\/boot\/grub(\/|$)/, 'GRUB is installed into the disk'],
  [/^\/boot\/efi\/./, 'the ESP is a partition of its own'],
  [/^\/lost\+found$/, 'made by mke2fs'],
];

interface Node {
  type: string;
  mode: string;
  owner: string;
  size: number;
  /** Of a file's content. */
  sha256: string;
}

async function treeFiles(tar: string): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  const types: Record<string, string> = { file: 'file', link: 'file', directory: 'dir', symlink: 'link' };
  const seen = new Map<string, Pick<Node, 'size' | 'sha256'>>();
  const extractor = createReadStream(tar).pipe(extract());
  for await (const entry of extractor) {
    const { name, type, mode, uid, gid, size, linkname } = entry.header;
    const path = name.replace(/^\.?\//, '/').replace(/(.)\/$/, '$1');
    const hash = createHash('sha256');
    for await (const chunk of entry) hash.update(chunk as Buffer);
    if (path === '/' || path === '/./' || path === './') continue;
    const target = type === 'link' ? seen.get(`/${linkname?.replace(/^\.?\//, '')}`) : undefined;
    const content =
      type === 'file' ? { size: size ?? 0, sha256: hash.digest('hex') } : (target ?? { size: 0, sha256: '' });
    seen.set(path, content);
    const node: Node = {
      type: types[type ?? ''] ?? 'other',
      mode: ((mode ?? 0) & 0o7777).toString(8).padStart(4, '0'),
      owner: `${uid}:${gid}`,
      ...content,
    };
    files.set(path, describe(node));
  }
  return files;
}

function describe({ type, mode, owner, size, sha256 }: Node): string {
  return `${type} ${type === 'link' ? '' : mode} ${owner} ${size} ${sha256}`;
}

/** What the closed disk holds, with the contents that are really on it. */
async function diskFiles(raw: string, dump: string): Promise<Map<string, string>> {
  const { start } = await rootOf(raw);
  mkdirSync(dump);
  await run('debugfs', ['-R', `rdump / "${dump}"`, `${raw}?offset=${start}`], { step: 'tree' });
  const files = new Map<string, string>();
  for (const { path, type, mode, uid, gid, size } of await new Ext4(raw, start).list()) {
    const sha256 = type === 'file' ? await digestOf(join(dump, path)) : '';
    files.set(path, describe({ type, mode, owner: `${uid}:${gid}`, size, sha256 }));
  }
  return files;
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
}

test.serial(
  'the container’s tree and the root of the disk that was sealed are the same files, to the byte',
  async (t) => {
    const { work, remove } = workFolder('tree');
    t.teardown(remove);
    const image = imageUnderTest();
    const disk = await diskFiles(await rawDisk(IMAGE_DIR, image, work), join(work, 'root'));
    const tree = await treeFiles(
      await imageTree(image, join(IMAGE_DIR, 'payload.tar'), join(IMAGE_DIR, 'logs', 'tree.log')),
    );
    const differing = [...new Set([...tree.keys(), ...disk.keys()])]
      .filter((path) => tree.get(path) !== disk.get(path) && !DISK_ONLY.some(([pattern]) => pattern.test(path)))
      .map((path) => `${path}: tree ${tree.get(path)}, disk ${disk.get(path)}`);
    t.deepEqual(differing.sort(), []);
    t.true(disk.size > 20_000);
  },
);
