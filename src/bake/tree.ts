import { join } from 'node:path';
import { mmdebstrap } from '../base/bootstrap.ts';
import type { ImageManifest } from '../manifest/image.ts';
import { loadLayers } from '../manifest/layers.ts';
import { cacheDir, cached, isCached } from '../plan/cache.ts';
import { hashFiles, hashOf } from '../plan/hash.ts';
import { workFolder } from '../plan/work-folder.ts';
import { BuildError } from '../process/errors.ts';
import { hashLayer } from './inputs.ts';
import { archivePayload } from './payload.ts';
import { PREPARED } from './prepare.ts';

/**
 * The root tree of an image as an archive, made the way Packer makes the disk but without booting: the same prepared
 * archive, the same payload, the same apply.sh and seal.sh. test/container/tree.test.ts holds it equal to the disk.
 *
 * @returns path of the archive, in the cache.
 */
export function imageTree(image: ImageManifest, payload: string, log: string): Promise<string> {
  // The disk's digest names the tree.
  return makeTree(image, image.disk.rawSha256, payload, log);
}

/**
 * The same of today's layers but one, to see what that one is for. It is no image: nothing publishes or boots a tree.
 *
 * @param without folder name of the layer that is left out.
 * @returns path of the archive, and a name for it.
 */
export async function treeWithout(
  root: string,
  image: ImageManifest,
  without: string,
  log: string,
): Promise<{ tar: string; name: string }> {
  const layers = loadLayers(root).filter(({ name }) => name !== without);
  const name = hashOf(['without', image.prepared, layers.map((layer) => [layer.name, hashLayer(layer)])]);
  const { work, remove } = workFolder('tree');
  try {
    const payload = join(work, 'payload.tar');
    await archivePayload(layers, root, work, payload, { id: `${image.id}-without-${without}`, base: image.base.id });
    return { tar: await makeTree(image, name, payload, log), name };
  } finally {
    remove();
  }
}

async function makeTree(image: ImageManifest, name: string, payload: string, log: string): Promise<string> {
  const prepared = join(cacheDir('prepared', image.prepared), PREPARED.tar);
  if (!isCached('prepared', image.prepared)) {
    throw new BuildError('tree', "the image's prepared tree isn't in the cache any more", 'make bake ARGS=--force');
  }
  // This very code decides what is in it.
  const key = hashOf(['tree', name, hashFiles(import.meta.dirname, [import.meta.filename])]);
  const { dir } = await cached('tree', key, async (into) => {
    await mmdebstrap(
      [
        '--variant=custom',
        '--skip=check/empty,update,cleanup',
        // mmdebstrap begins with settings of its own; a vendor's tree may have none by these names to replace them.
        `--setup-hook=find "$1/etc" "$1/var" -type f -delete && tar -C "$1" --numeric-owner -xpf '${prepared}'`,
        `--customize-hook=mkdir "$1/tmp/payload" && tar -C "$1/tmp/payload" -xf '${payload}'`,
        '--customize-hook=chroot "$1" sh /tmp/payload/apply.sh /tmp/payload',
        '--customize-hook=chroot "$1" sh /tmp/payload/seal.sh',
        // mmdebstrap's own setting; its cleanup, which would take it away, would also touch what seal.sh left.
        '--customize-hook=rm -f "$1/etc/apt/apt.conf.d/00mmdebstrap"',
        // No suite: nothing is installed.
        '',
        join(into, 'root.tar'),
      ],
      { step: 'tree', log, sources: [] },
    );
  });
  return join(dir, 'root.tar');
}
