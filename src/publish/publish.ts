import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import {
  type Cloud,
  type CloudImage,
  DIGEST_DIGITS,
  type Job,
  type Parent,
  type Published,
  type RawDisk,
  type Registered,
} from '../clouds/cloud.ts';
import { hasGate } from '../launch/local/launch.ts';
import type { ImageManifest } from '../manifest/image.ts';
import { workFolder } from '../plan/work-folder.ts';
import { BuildError, inputError } from '../process/errors.ts';
import type { Progress } from '../process/progress.ts';
import { rawDiskBlocks } from '../seal/closed-disk.ts';
import { isYoung } from './age.ts';
import { blocksFile, Journal, keepBlocks, type Publication, readBlocks } from './journal.ts';
import { pruneIn, removeRun, sweepRun, takeBack } from './take-back.ts';
import { Transfer } from './transfer.ts';
import { type Patience, witness } from './witness.ts';

/** What `npm run -s publish -- --json` prints. */
export interface PublishResult {
  image: string;
  cloud: string;
  publications: {
    region: string;
    image_id: string;
    snapshot_id: string;
    /** Bytes that this publication sent, over all runs that it took; 0 where it was there already. */
    bytes_sent: number;
    /** Of the raw disk. */
    bytes_total: number;
    seconds: number;
    /** Until the live checks of the machine that was booted there had passed; null where that isn't known. */
    boot_seconds: number | null;
  }[];
}

export interface PublishInputs {
  imageDir: string;
  image: ImageManifest;
  cloud: Cloud;
  /** Folder of the journals. */
  dir: string;
  patience?: Patience;
}

/** What the clouds are told of an image. */
export function publishedOf({ id, base, created, disk }: ImageManifest): Published {
  return { id, base: base.id, created, rawSha256: disk.rawSha256, rawSize: disk.rawSize };
}

/**
 * Publishes an image in every region of a cloud: upload, register, boot and check, record. Takes up what an interrupted run
 * has left; after a failure nothing half-made stays. The caller has asked for the proof, and holds the cloud's lock.
 */
export async function publish(inputs: PublishInputs, progress: Progress): Promise<PublishResult> {
  const { image, cloud, dir } = inputs;
  const journal = Journal.open(dir, publishedOf(image));
  const publications: PublishResult['publications'] = [];
  let home: (Registered & { region: string }) | undefined;
  const interrupted = () => progress.say(interruptedHint(cloud));
  process.once('exit', interrupted);
  try {
    for (const region of cloud.regions) {
      const before = await entryOf(cloud, journal, region);
      const there = before.state === 'recorded';
      const entry = there ? before : await inRegion(inputs, journal, before, home, progress);
      const ids = idsOf(entry);
      home ??= { ...ids, region };
      const { bytes_sent, bytes_total, seconds } = entry;
      const what = there ? { bytes_sent: 0, seconds: 0 } : { bytes_sent, seconds };
      publications.push({
        region,
        image_id: ids.imageId,
        snapshot_id: ids.snapshotId,
        ...what,
        bytes_total,
        boot_seconds: bootOf(entry),
      });
    }
  } finally {
    process.off('exit', interrupted);
  }
  return { image: image.id, cloud: cloud.name, publications };
}

/** A note of the journal's. */
const BOOT_SECONDS = 'boot_seconds';

const bootOf = ({ notes }: Publication) => (notes[BOOT_SECONDS] ? Number(notes[BOOT_SECONDS]) : null);

/** Ctrl-C ends the process where it is; what it has made may go on costing. */
function interruptedHint({ name, regions }: Cloud): string {
  return `!! interrupted: the same command goes on where this one was; ${pruneIn(name, regions.join(','))} removes what it made`;
}

function idsOf({ image_id, snapshot_id, region }: Publication): Registered {
  if (!image_id || !snapshot_id) throw new Error(`the journal knows no ID in ${region}`);
  return { imageId: image_id, snapshotId: snapshot_id };
}

/** The journal's entry to go on with. What the cloud says counts: it may have lost an image, or we its journal. */
async function entryOf(cloud: Cloud, journal: Journal, region: string): Promise<Publication> {
  const { image } = journal;
  const there = (await cloud.list(region)).filter((one) => isOf(one, image));
  const sound = there.filter(({ deprecated }) => deprecated === undefined);
  if (there.length > 0 && sound.length === 0)
    throw inputError(
      'publish',
      `${image.id} is deprecated in ${region}, and will be removed`,
      'bake a new image and publish that: make bake ARGS=--force',
    );
  const known = journal.find(cloud.name, region);
  if (known && known.state !== 'failed' && known.state !== 'removed') {
    const now = sound.find(({ imageId }) => imageId === known.image_id);
    if (now?.proven && known.state !== 'recorded') journal.update(known, { state: 'booted' });
    // Its label was taken away, by hand or by a restore: it is looked at again.
    if (now && !now.proven && known.state === 'recorded') journal.update(known, { state: 'registered' });
    // Whoever publishes this one wants it to be the candidate: another may have become it since, or this move was cut short.
    if (now && known.state === 'recorded') await cloud.setChannel(region, now.base, 'candidate', now);
    if (now?.proven) return known;
    // What another run has proven meanwhile is taken instead of what isn't yet.
    const instead = sound.some(({ proven, run }) => proven && run !== known.run);
    if (!instead && (now || known.image_id === null)) return known;
    const isThere = there.some(({ imageId }) => imageId === known.image_id);
    await removeRun(cloud, journal, region, known.run);
    journal.update(known, { state: known.image_id === null || isThere ? 'failed' : 'removed' });
    return entryOf(cloud, journal, region);
  }
  const found = sound.find(({ proven }) => proven) ?? sound[0];
  if (!found) return journal.begin(cloud.name, region, newRun());
  if (!found.proven && !journal.publications.some(({ run }) => run === found.run) && isYoung(found))
    throw inputError(
      'publish',
      `in ${region} run ${found.run}, which isn't in this journal, has published ${image.id} and not checked it yet`,
      'wait for it; if nothing runs any more, it is taken up when it is a day old',
    );
  const entry = journal.begin(cloud.name, region, found.run);
  // A copy that is on its way has no snapshot yet: whoever makes it finds it and waits.
  if (!found.snapshotId) return entry;
  journal.update(entry, {
    state: found.proven ? 'booted' : 'registered',
    image_id: found.imageId,
    snapshot_id: found.snapshotId,
  });
  return entry;
}

function isOf({ image, digest }: CloudImage, { id, rawSha256 }: Published): boolean {
  return image === id && digest === rawSha256.slice(0, DIGEST_DIGITS);
}

/** A label for all that a publication makes: when, and which of those that began in that second. */
function newRun(): string {
  const time = new Date().toISOString().replaceAll(/[-:]|\.\d+/g, '');
  return `p${time.toLowerCase()}-${randomBytes(4).toString('hex')}`;
}

async function inRegion(
  inputs: PublishInputs,
  journal: Journal,
  entry: Publication,
  home: (Registered & { region: string }) | undefined,
  progress: Progress,
): Promise<Publication> {
  const { cloud } = inputs;
  const { region, run, seconds: before } = entry;
  const startedAt = performance.now();
  const spent = () => before + Math.round((performance.now() - startedAt) / 100) / 10;
  const reach = (changes: Partial<Publication>) => journal.update(entry, { ...changes, seconds: spent() });
  const step = <T>(what: string, work: (job: Job) => Promise<T>) =>
    progress.step(`${cloud.name} ${region}: ${what}`, ({ detail }) => work(jobOf(journal, entry, detail)));
  try {
    if (entry.state === 'started' && !home) {
      await step('upload', (job) => upload(inputs, journal, entry, job));
      reach({ state: 'uploaded' });
    }
    if (entry.state === 'uploaded' || entry.state === 'started') {
      const made = await step(home ? `copy from ${home.region}` : 'register', (job) =>
        home ? cloud.copy(job, home) : cloud.register(job),
      );
      reach({ state: 'registered', image_id: made.imageId, snapshot_id: made.snapshotId });
    }
    if (entry.state === 'registered') {
      await step('boot it and check', async (job) => {
        await sweepRun(cloud, region, run);
        const { bootSeconds } = await witness(cloud, job, idsOf(entry), hasGate(inputs.image), inputs.patience);
        job.note({ [BOOT_SECONDS]: `${bootSeconds}` });
      });
      reach({ state: 'booted' });
    }
    await step('record', async () => {
      await cloud.prove(region, idsOf(entry));
      const [image] = (await cloud.list(region)).filter(({ imageId }) => imageId === entry.image_id);
      if (!image) throw new BuildError('publish', `${entry.image_id} is gone`, 'publish again');
      await cloud.setChannel(region, image.base, 'candidate', image);
      await sweepRun(cloud, region, run);
    });
    reach({ state: 'recorded', recorded: new Date().toISOString() });
    return entry;
  } catch (error) {
    await takeBack(cloud, journal, entry, error, progress);
    throw error;
  }
}

/** @returns the job as the cloud's code sees it; the journal is on disk before and after each of its calls. */
function jobOf(journal: Journal, entry: Publication, detail: (text: string) => void): Job {
  return {
    run: entry.run,
    region: entry.region,
    image: journal.image,
    get notes() {
      return entry.notes;
    },
    note: (more) => journal.update(entry, { notes: { ...entry.notes, ...more } }),
    detail,
  };
}

async function upload(inputs: PublishInputs, journal: Journal, entry: Publication, job: Job): Promise<void> {
  const { cloud, imageDir, image, dir } = inputs;
  const transfer = new Transfer();
  const before = entry.bytes_sent;
  const { work, remove } = workFolder('disk');
  let disk: Promise<RawDisk> | undefined;
  const open = async (): Promise<RawDisk> => {
    job.detail('unpacking and checking the disk');
    const disk = await rawDiskBlocks(imageDir, image, work);
    // Those that were read, whatever blocks.json says: the next image builds on them.
    keepBlocks(dir, image.id, disk);
    return disk;
  };
  try {
    await cloud.upload(
      Object.assign(job, {
        // What a killed run has sent counts too.
        note: (more: Record<string, string>) =>
          journal.update(entry, { notes: { ...entry.notes, ...more }, bytes_sent: before + transfer.bytes }),
        disk: () => (disk ??= open()),
        parent: parentOf(dir, cloud.name, job),
        expect: (bytes: number) => transfer.expect(bytes),
        sent: (bytes: number) => {
          transfer.add(bytes);
          job.detail(String(transfer));
        },
      }),
    );
    journal.update(entry, { bytes_sent: before + transfer.bytes });
  } finally {
    remove();
  }
}

/** The newest publication of the same base in the same region whose blocks are still known. */
export function parentOf(
  dir: string,
  cloud: string,
  { region, image }: Pick<Job, 'region' | 'image'>,
): Parent | undefined {
  const earlier = Journal.all(dir)
    .filter(
      (one) => one.image.base === image.base && one.image.id !== image.id && existsSync(blocksFile(dir, one.image.id)),
    )
    .map((one) => ({ id: one.image.id, entry: one.find(cloud, region) }))
    .findLast(({ entry }) => entry?.state === 'recorded' && entry.snapshot_id);
  if (!earlier?.entry?.snapshot_id) return undefined;
  const { size, blocks } = readBlocks(blocksFile(dir, earlier.id));
  return { snapshotId: earlier.entry.snapshot_id, size, blocks };
}
