import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import type { Published } from '../clouds/cloud.ts';
import { writeWhole } from '../launch/write-once.ts';
import { imageId } from '../manifest/image.ts';
import { BuildError, inputError } from '../process/errors.ts';
import { BLOCK_BYTES } from '../seal/digest.ts';

const bytes = z.number().int().nonnegative();

const publicationSchema = z.strictObject({
  cloud: z.string(),
  region: z.string(),
  /** Label of everything that was made for it. */
  run: z.string().regex(/^[a-z0-9-]{1,40}$/),
  /**
   * How far it is; each state is written when it is reached. `recorded` is published; `failed` was taken back; `removed`
   * was pruned, or isn't in the cloud any more.
   */
  state: z.enum(['started', 'uploaded', 'registered', 'booted', 'recorded', 'failed', 'removed']),
  started: z.iso.datetime(),
  /** What the cloud's code noted before each call that makes something, and after it: names, tokens, IDs. No secret. */
  notes: z.record(z.string(), z.string()),
  /** What instances are launched from. */
  image_id: z.string().nullable(),
  snapshot_id: z.string().nullable(),
  /** Over all runs that it took. */
  bytes_sent: bytes,
  /** Of the raw disk. */
  bytes_total: bytes,
  /** Over all runs that it took. */
  seconds: z.number().nonnegative(),
  recorded: z.iso.datetime().nullable(),
});

const HAVE_IDS = new Set(['registered', 'booted', 'recorded']);

/** `publications/<image-id>.json`: what was made of an image in the clouds, or was about to be made. */
export const journalSchema = z.strictObject({
  schema: z.literal(1),
  image: z.strictObject({
    id: imageId,
    base: z.string(),
    created: z.iso.datetime(),
    rawSha256: z.string().regex(/^[0-9a-f]{64}$/),
    rawSize: bytes,
  }),
  publications: z.array(
    publicationSchema.refine(
      ({ state, image_id, snapshot_id }) => !HAVE_IDS.has(state) || (image_id && snapshot_id),
      'has no IDs, which its state says there are',
    ),
  ),
});

export type Publication = z.output<typeof publicationSchema>;

/** Where journals are: CLAWDY_PUBLICATIONS, else `publications/`. It outlives `make clean`: nothing else knows these IDs. */
export function publicationsDir(root: string): string {
  return resolve(root, process.env.CLAWDY_PUBLICATIONS || 'publications');
}

/** One image's journal. What it is told is on disk when the call returns. */
export class Journal {
  readonly image: Published;
  readonly publications: Publication[];
  readonly #dir: string;

  private constructor(dir: string, image: Published, publications: Publication[]) {
    this.#dir = dir;
    this.image = image;
    this.publications = publications;
  }

  /**
   * The image's journal, empty where there is none yet.
   * @throws BuildError (input) where it can't be read, or is of other bytes under the same ID.
   */
  static open(dir: string, image: Published): Journal {
    const known = Journal.read(dir, image.id);
    if (!known) return new Journal(dir, image, []);
    if (known.image.rawSha256 !== image.rawSha256)
      throw inputError(
        'journal',
        `${fileOf(dir, image.id)} is of another disk with the same ID`,
        'bake anew: make bake ARGS=--force',
      );
    return known;
  }

  /** @returns undefined where there is none. */
  static read(dir: string, id: string): Journal | undefined {
    const file = fileOf(dir, id);
    if (!existsSync(file)) return undefined;
    let document: unknown;
    try {
      document = JSON.parse(readFileSync(file, 'utf8'));
    } catch (error) {
      throw unreadable(file, error instanceof Error ? error.message : String(error));
    }
    const parsed = journalSchema.safeParse(document);
    if (!parsed.success) throw unreadable(file, z.prettifyError(parsed.error));
    if (parsed.data.image.id !== id) throw unreadable(file, `it is of image ${parsed.data.image.id}`);
    return new Journal(dir, parsed.data.image, parsed.data.publications);
  }

  /** All journals, by the image's time, oldest first. */
  static all(dir: string): Journal[] {
    return namesIn(dir)
      .filter((name) => name.endsWith('.json') && !name.endsWith('.blocks.json') && !name.startsWith('.'))
      .map((name) => Journal.read(dir, name.slice(0, -'.json'.length)) as Journal)
      .sort((a, b) => a.image.created.localeCompare(b.image.created));
  }

  /** What counts in a region: the newest entry. */
  find(cloud: string, region: string): Publication | undefined {
    return this.publications.findLast((one) => one.cloud === cloud && one.region === region);
  }

  /** A new entry; on disk before anything is asked of the cloud. */
  begin(cloud: string, region: string, run: string): Publication {
    const entry: Publication = {
      ...{ cloud, region, run, state: 'started', started: new Date().toISOString(), notes: {} },
      ...{ image_id: null, snapshot_id: null, bytes_sent: 0, bytes_total: this.image.rawSize, seconds: 0 },
      recorded: null,
    };
    this.publications.push(entry);
    this.save();
    return entry;
  }

  update(entry: Publication, changes: Partial<Publication>): void {
    const before = { ...entry };
    Object.assign(entry, changes);
    try {
      this.save();
    } catch (error) {
      Object.assign(entry, before);
      throw error;
    }
  }

  save(): void {
    const document = journalSchema.parse({ schema: 1, image: this.image, publications: this.publications });
    const text = `${JSON.stringify(document, null, 2)}\n`;
    inFolder(this.#dir, () => writeWhole(fileOf(this.#dir, this.image.id), text, 'always'));
  }
}

/** Does something below the folder of journals. @throws BuildError: what isn't in the journal isn't done. */
export function inFolder<T>(dir: string, work: () => T): T {
  try {
    mkdirSync(dir, { recursive: true });
    return work();
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === undefined) throw cause;
    const why = code === 'ENOSPC' ? 'the disk is full' : code;
    const hint = 'make room, or name another folder: CLAWDY_PUBLICATIONS, for the local cloud also CLAWDY_STORE';
    throw new BuildError('journal', `${dir} can't be written: ${why}`, hint, { cause });
  }
}

function namesIn(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return [];
    throw inputError(
      'journal',
      `the journals' folder ${dir} can't be read: ${code}`,
      'CLAWDY_PUBLICATIONS names another',
    );
  }
}

function fileOf(dir: string, id: string): string {
  return join(dir, `${id}.json`);
}

function unreadable(file: string, why: string) {
  return inputError(
    'journal',
    `${file} can't be read: ${why}`,
    'nothing was changed; put back the file, or move it away',
  );
}

const blocksSchema = z.object({
  blockBytes: z.number(),
  size: bytes,
  blocks: z.record(z.string().regex(/^\d+$/), z.string()),
});
export type Blocks = z.output<typeof blocksSchema>;

/**
 * The digests of a disk's blocks, as the seal wrote them.
 * @throws BuildError (input) where the file is missing or damaged.
 */
export function readBlocks(file: string): Blocks {
  try {
    return blocksSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch (cause) {
    const why = cause instanceof z.ZodError ? 'it has another form' : 'it is missing or no JSON';
    throw inputError('journal', `${file} can't be read: ${why}`, 'bake anew: make bake ARGS=--force');
  }
}

/** Keeps a disk's block digests beside the journal: the next image's upload sends what differs from them. */
export function keepBlocks(dir: string, id: string, { size, blocks }: Pick<Blocks, 'size' | 'blocks'>): void {
  const text = JSON.stringify({ blockBytes: BLOCK_BYTES, size, blocks });
  inFolder(dir, () => writeWhole(blocksFile(dir, id), text, 'always'));
}

export function blocksFile(dir: string, id: string): string {
  return join(dir, `${id}.blocks.json`);
}

/** Nothing builds on it any more. */
export function dropBlocks(dir: string, id: string): void {
  rmSync(blocksFile(dir, id), { force: true });
}
