import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  symlinkSync,
  unlinkSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname, isAbsolute, join } from 'node:path';
import { z } from 'zod';
import type { Check } from '../../doctor/check.ts';
import { writeWhole } from '../../launch/write-once.ts';
import { imageId } from '../../manifest/image.ts';
import { inputError } from '../../process/errors.ts';
import type { Channel } from '../cloud.ts';

const labelsSchema = z.strictObject({
  schema: z.literal(1),
  image: imageId,
  base: z.string(),
  rawSha256: z.string().regex(/^[0-9a-f]{64}$/),
  run: z.string(),
  created: z.iso.datetime(),
  proven: z.boolean(),
  deprecated: z.iso.datetime().nullable(),
});

/** An image has about one; it lies there compressed. */
const MIN_GIB = 2;

/** What a cloud would keep as an image's tags. */
export type Labels = z.output<typeof labelsSchema>;

/**
 * The image store of the local cloud, a folder:
 *
 *     images/<image-id>/{disk.qcow2,labels.json}    as a cloud's images
 *     channels/<base>/<channel>                     links to them
 *     .new-<run>/                                   on its way in
 */
export class Store {
  readonly dir: string;

  /** @param dir default: CLAWDY_STORE, else below XDG_DATA_HOME. */
  constructor(dir = process.env.CLAWDY_STORE || join(dataHome(), 'clawdy', 'store')) {
    this.dir = dir;
  }

  /** Whether it can be written to and has room for an image; nothing is made. */
  room(): Check {
    let dir = this.dir;
    while (!existsSync(dir)) dir = dirname(dir);
    const name = 'room in the store';
    const fix = 'make room, or set CLAWDY_STORE to a folder that you may write to';
    try {
      accessSync(`${dir}/`, constants.W_OK | constants.X_OK);
    } catch {
      return { name, ok: false, fix, found: `${dir} is no folder that can be written to` };
    }
    const { bavail, bsize } = statfsSync(dir);
    const gib = (bavail * bsize) / 2 ** 30;
    return { name, ok: gib >= MIN_GIB, fix, found: `${gib.toFixed(0)} GiB free in ${dir}` };
  }

  incoming(run: string): string {
    return join(this.dir, `.new-${run}`);
  }

  imageDir(id: string): string {
    return join(this.dir, 'images', id);
  }

  disk(id: string): string {
    return join(this.imageDir(id), 'disk.qcow2');
  }

  /** @throws BuildError (input) for one that can't be read. */
  list(): Labels[] {
    const images = join(this.dir, 'images');
    if (!existsSync(images)) return [];
    return readdirSync(images)
      .filter((name) => !name.startsWith('.'))
      .map((name) => this.read(name));
  }

  read(id: string): Labels {
    const file = join(this.imageDir(id), 'labels.json');
    try {
      const labels = labelsSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
      // A folder that was copied or renamed by hand: its labels are another's.
      if (labels.image === id && existsSync(this.disk(id))) return labels;
    } catch {
      // Said below.
    }
    throw inputError('store', `${this.imageDir(id)} isn't a whole image of that name`, 'mend it, or move it away');
  }

  /** @param folder the image's, or the one that will become it. */
  label(folder: string, labels: Labels): void {
    writeWhole(join(folder, 'labels.json'), `${JSON.stringify(labels, null, 2)}\n`, 'always');
  }

  /** What came in becomes an image, in one rename. */
  admit(run: string, id: string): void {
    mkdirSync(join(this.dir, 'images'), { recursive: true });
    renameSync(this.incoming(run), this.imageDir(id));
  }

  /** Away in one rename; what a killed removal left is a `.gone-` folder. */
  remove(id: string): void {
    const gone = join(this.dir, `.gone-${id}`);
    rmSync(gone, { recursive: true, force: true });
    if (existsSync(this.imageDir(id))) renameSync(this.imageDir(id), gone);
    rmSync(gone, { recursive: true, force: true });
  }

  channel(base: string, channel: Channel): string | undefined {
    try {
      return basename(readlinkSync(join(this.dir, 'channels', base, channel)));
    } catch {
      return undefined;
    }
  }

  setChannel(base: string, channel: Channel, id: string | undefined): void {
    const dir = join(this.dir, 'channels', base);
    const link = join(dir, channel);
    mkdirSync(dir, { recursive: true });
    if (id === undefined) {
      if (this.channel(base, channel) !== undefined) unlinkSync(link);
      return;
    }
    // By rename, so that there is never a moment without one.
    const work = join(dir, `.${channel}.new`);
    rmSync(work, { force: true });
    symlinkSync(join('..', '..', 'images', id), work);
    renameSync(work, link);
  }

  /** Folders that never became an image, of a run, and what a removal that was cut short left. */
  leftovers(): { path: string; run: string; created: string }[] {
    if (!existsSync(this.dir)) return [];
    return readdirSync(this.dir).flatMap((name) => {
      const [, kind, rest = ''] = /^\.(new|gone)-(.+)$/.exec(name) ?? [];
      const path = join(this.dir, name);
      if (!kind) return [];
      // Nobody else removes while we hold the lock, so a removal's rest is old at once.
      const created = kind === 'new' ? statSync(path).mtime : new Date(0);
      return [{ path, run: kind === 'new' ? rest : '', created: created.toISOString() }];
    });
  }
}

/** Relative ones are to be ignored: XDG Base Directory Specification 0.8. */
function dataHome(): string {
  const set = process.env.XDG_DATA_HOME;
  return set && isAbsolute(set) ? set : join(homedir(), '.local/share');
}
