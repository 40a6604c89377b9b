import { createReadStream, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { extract } from 'tar-stream';
import { imageTree } from '../../src/bake/tree.ts';
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
}

async function treeFiles(tar: string): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  const types: Record<string, string> = { file: 'file', link: 'file', directory: 'dir', symlink: 'link' };
  const sizes = new Map<string, number>();
  const extractor = createReadStream(tar).pipe(extract());
  for await (const entry of extractor) {
    const { name, type, mode, uid, gid, size, linkname } = entry.header;
    const path = name.replace(/^\.?\//, '/').replace(/(.)\/$/, '$1');
    entry.resume();
    if (path === '/' || path === '/./' || path === './') continue;
    const bytes =
      type === 'link' ? (sizes.get(`/${linkname?.replace(/^\.?\//, '')}`) ?? 0) : type === 'file' ? (size ?? 0) : 0;
    sizes.set(path, bytes);
    const node: Node = {
      type: types[type ?? ''] ?? 'other',
      mode: ((mode ?? 0) & 0o7777).toString(8).padStart(4, '0'),
      owner: `${uid}:${gid}`,
      size: bytes,
    };
    files.set(path, describe(node));
  }
  return files;
}

function describe({ type, mode, owner, size }: Node): string {
  return `${type} ${type === 'link' ? '' : mode} ${owner} ${size}`;
}

function diskFiles(): Map<string, string> {
  const lines = readFileSync(join(IMAGE_DIR, 'files.tsv'), 'utf8').trimEnd().split('\n');
  return new Map(
    lines.map((line) => {
      const [path = '', type = '', mode = '', uid, gid, size] = line.split('\t');
      return [path, describe({ type, mode, owner: `${uid}:${gid}`, size: Number(size) })];
    }),
  );
}

test('the container’s tree and the disk’s root are the same files, owners, modes and sizes', async (t) => {
  const tree = await treeFiles(
    await imageTree(imageUnderTest(), join(IMAGE_DIR, 'payload.tar'), join(IMAGE_DIR, 'logs', 'tree.log')),
  );
  const disk = diskFiles();
  const differing = [...new Set([...tree.keys(), ...disk.keys()])]
    .filter((path) => tree.get(path) !== disk.get(path) && !DISK_ONLY.some(([pattern]) => pattern.test(path)))
    .map((path) => `${path}: tree ${tree.get(path)}, disk ${disk.get(path)}`);
  t.deepEqual(differing.sort(), []);
  t.true(disk.size > 20_000);
});
