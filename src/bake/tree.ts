import { join } from 'node:path';
import { mmdebstrap } from '../base/bootstrap.ts';
import type { ImageManifest } from '../manifest/image.ts';
import { cacheDir, cached, isCached } from '../plan/cache.ts';
import { hashFiles, hashOf } from '../plan/hash.ts';
import { BuildError } from '../process/errors.ts';
import { PREPARED } from './prepare.ts';

/**
 * The root tree of an image as an archive, made the way Packer makes the disk but without booting: the same prepared
 * archive, the same payload, the same apply.sh and seal.sh. test/container/tree.test.ts holds it equal to the disk.
 *
 * @returns path of the archive, in the cache.
 */
export async function imageTree(image: ImageManifest, payload: string, log: string): Promise<string> {
  const prepared = join(cacheDir('prepared', image.prepared), PREPARED.tar);
  if (!isCached('prepared', image.prepared)) {
    throw new BuildError('tree', "the image's prepared tree isn't in the cache any more", 'make bake ARGS=--force');
  }
  // The disk's digest names the tree; this very code decides what is in it.
  const key = hashOf(['tree', image.disk.rawSha256, hashFiles(import.meta.dirname, [import.meta.filename])]);
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
