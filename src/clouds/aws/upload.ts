import { CompleteSnapshotCommand, StartSnapshotCommand } from '@aws-sdk/client-ebs';
import pMap from 'p-map';
import { BLOCK_BYTES } from '../../seal/digest.ts';
import { changedBlocks } from '../blocks.ts';
import { labelsOf, type Parent, type RawDisk, type UploadJob } from '../cloud.ts';
import { BlockReader, putBlock } from './blocks.ts';
import { codeOf, isGone } from './errors.ts';
import { tagsOf, tokenOf } from './labels.ts';
import { type Session, WORKERS } from './session.ts';
import { completed, deleteSnapshot, ourSnapshots, snapshotOf } from './snapshots.ts';

const GIB = 1024 ** 3;

/**
 * Minutes without a block after which AWS ends a snapshot that was begun: its own default. Whoever is interrupted has
 * an hour to go on; later the upload begins anew.
 */
const IDLE_MINUTES = 60;

/** What an upload notes. */
const NOTE = {
  attempt: 'upload.attempt',
  parent: 'upload.parent',
  snapshot: 'upload.snapshot',
  /** Of the blocks to send, in order, so many were acknowledged. */
  acknowledged: 'upload.acknowledged',
  completing: 'upload.completing',
} as const;

/** Which snapshot a job has made, for `register`. */
export function uploadedSnapshot(notes: Readonly<Record<string, string>>): string | undefined {
  return notes[NOTE.snapshot] || undefined;
}

interface Begun {
  snapshotId: string;
  acknowledged: number;
  parent: Parent | undefined;
  /** CompleteSnapshot may have arrived. */
  completing: boolean;
}

/**
 * Brings a disk into EBS by its direct API: sparse, and only what differs from the parent where there is one.
 * @returns bytes sent in this run; 0 when an earlier run had sent all.
 */
export async function upload(session: Session, job: UploadJob): Promise<{ bytesSent: number }> {
  const earlier = job.notes[NOTE.snapshot];
  const state = earlier ? (await snapshotOf(session, job.region, earlier))?.State : undefined;
  if (earlier && state === 'completed') return { bytesSent: 0 };

  const disk = await job.disk();
  const begun = (state === 'pending' && earlier && goOn(job, earlier)) || (await begin(session, job, disk));
  const indexes = changedBlocks(disk.blocks, begun.parent?.blocks);
  const reader = await BlockReader.open(disk);
  try {
    const left = begun.completing ? [] : indexes.slice(begun.acknowledged);
    job.expect(left.length * BLOCK_BYTES);
    const bytesSent = await send(session, job, reader, begun, left);
    await complete(session, job, begun, indexes.length, await reader.linear(indexes));
    return { bytesSent };
  } finally {
    await reader.close();
  }
}

/** The snapshot that an interrupted run began, when it rests on the same parent. */
function goOn(job: UploadJob, snapshotId: string): Begun | undefined {
  if ((job.notes[NOTE.parent] ?? '') !== '' && job.notes[NOTE.parent] !== job.parent?.snapshotId) return undefined;
  return {
    snapshotId,
    parent: job.notes[NOTE.parent] ? job.parent : undefined,
    acknowledged: Number(job.notes[NOTE.acknowledged] ?? 0),
    completing: job.notes[NOTE.completing] === 'yes',
  };
}

async function begin(session: Session, job: UploadJob, disk: RawDisk): Promise<Begun> {
  const noted = Number(job.notes[NOTE.attempt] ?? 0);
  const parent = await usableParent(session, job, disk);
  // Whoever was killed before the answer came has noted an attempt without a snapshot: the same token finds it.
  const isSame =
    noted > 0 && !job.notes[NOTE.snapshot] && (job.notes[NOTE.parent] ?? '') === (parent?.snapshotId ?? '');
  if (noted > 0 && !isSame) await discard(session, job);
  let attempt = isSame ? noted : noted + 1;
  let begun = await start(session, job, disk, parent, attempt);
  if (begun && isSame && !(await isOpen(session, job.region, begun.snapshotId))) {
    // AWS gave it up meanwhile, and would name it for ever to whoever has this token.
    await discard(session, job);
    begun = await start(session, job, disk, parent, ++attempt);
  }
  if (begun) return begun;
  job.detail('AWS does not build on the earlier snapshot: the whole disk is sent');
  return (await start(session, job, disk, undefined, attempt + 1)) as Begun;
}

/** Whether blocks can be put into a snapshot; one that was begun just now may not be known everywhere. */
function isOpen(session: Session, region: string, id: string): Promise<boolean> {
  const freshUntil = performance.now() + session.times.fresh;
  return session.until(`snapshot ${id}`, 2 * session.times.fresh, async () => {
    const snapshot = await snapshotOf(session, region, id);
    if (snapshot) return snapshot.State === 'pending';
    return performance.now() < freshUntil ? undefined : false;
  });
}

/** @returns undefined when AWS refuses the parent: it does where an account encrypts everything it makes. */
async function start(
  session: Session,
  job: UploadJob,
  disk: RawDisk,
  parent: Parent | undefined,
  attempt: number,
): Promise<Begun | undefined> {
  job.note({
    [NOTE.attempt]: String(attempt),
    [NOTE.parent]: parent?.snapshotId ?? '',
    [NOTE.snapshot]: '',
    [NOTE.acknowledged]: '0',
    [NOTE.completing]: '',
  });
  const call = async () => {
    try {
      const begun = await session.ebs(job.region).send(
        new StartSnapshotCommand({
          VolumeSize: Math.ceil(disk.size / GIB),
          ParentSnapshotId: parent?.snapshotId,
          Tags: tagsOf(labelsOf(job)),
          Description: job.image.id,
          ClientToken: tokenOf(job.run, 'upload', job.region, attempt),
          Timeout: IDLE_MINUTES,
        }),
      );
      return begun.SnapshotId;
    } catch (error) {
      if (parent && (isGone(error) || codeOf(error) === 'ValidationException')) return undefined;
      throw error;
    }
  };
  const snapshotId = await session.ask('beginning a snapshot', call, { detail: job.detail });
  if (!snapshotId) return undefined;
  job.note({ [NOTE.snapshot]: snapshotId });
  return { snapshotId, parent, acknowledged: 0, completing: false };
}

/** The parent, when AWS still has it and lets others build on it. */
async function usableParent(
  session: Session,
  { parent, region, detail }: UploadJob,
  disk: RawDisk,
): Promise<Parent | undefined> {
  if (!parent || parent.size > disk.size) return undefined;
  const snapshot = await snapshotOf(session, region, parent.snapshotId);
  const isUsable =
    snapshot?.State === 'completed' &&
    !snapshot.Encrypted &&
    (snapshot.VolumeSize ?? Infinity) * GIB <= roundUp(disk.size);
  if (!isUsable) detail(`${parent.snapshotId} can't be built on: the whole disk is sent`);
  return isUsable ? parent : undefined;
}

/** Takes away what earlier attempts of this job left; what an image uses stays. */
async function discard(session: Session, job: UploadJob): Promise<void> {
  for (const { SnapshotId } of await ourSnapshots(session, job.region, job.run))
    if (SnapshotId) await deleteSnapshot(session, job.region, SnapshotId);
}

/** Puts the blocks. @returns bytes that were acknowledged. */
async function send(
  session: Session,
  job: UploadJob,
  reader: BlockReader,
  begun: Begun,
  left: number[],
): Promise<number> {
  const isDone = new Array<boolean>(left.length).fill(false);
  let inOrder = 0;
  let sent = 0;
  let notedAt = performance.now();
  const acknowledge = (at: number) => {
    isDone[at] = true;
    while (isDone[inOrder]) inOrder++;
    sent += BLOCK_BYTES;
    job.sent(BLOCK_BYTES);
    if (performance.now() - notedAt < session.times.note) return;
    notedAt = performance.now();
    job.note({ [NOTE.acknowledged]: String(begun.acknowledged + inOrder) });
  };
  const stop = new AbortController();
  const { signal } = stop;
  const put = (index: number) =>
    reader.with(index, (block, sha256) =>
      session.ask(
        `block ${index}`,
        () => session.ebs(job.region).send(putBlock(begun.snapshotId, index, block, sha256), { abortSignal: signal }),
        { fresh: true, signal, detail: job.detail },
      ),
    );
  await pMap(
    left.entries(),
    async ([at, index]) => {
      try {
        await put(index);
      } catch (error) {
        // The first to fail ends the others, also those that wait to try again; nothing is put or noted after it.
        stop.abort();
        throw error;
      }
      if (!signal.aborted) acknowledge(at);
    },
    { concurrency: WORKERS },
  );
  return sent;
}

/** Seals the snapshot and waits until it holds its bytes. */
async function complete(
  session: Session,
  job: UploadJob,
  begun: Begun,
  blocks: number,
  checksum: string,
): Promise<void> {
  job.note({ [NOTE.acknowledged]: String(blocks), [NOTE.completing]: 'yes' });
  // A call whose answer was lost, in this run or the one before, may have sealed it: then AWS refuses another one.
  let mayBeSealed = begun.completing;
  const call = async () => {
    try {
      await session.ebs(job.region).send(
        new CompleteSnapshotCommand({
          SnapshotId: begun.snapshotId,
          ChangedBlocksCount: blocks,
          ...(blocks > 0 && { Checksum: checksum, ChecksumAlgorithm: 'SHA256', ChecksumAggregationMethod: 'LINEAR' }),
        }),
      );
    } catch (error) {
      const isRefused = ['ValidationException', 'ConflictException'].includes(codeOf(error));
      if (isRefused && mayBeSealed) return;
      // What arrived isn't what was sent: whoever goes on sends all blocks again.
      if (isRefused) job.note({ [NOTE.acknowledged]: '0', [NOTE.completing]: '' });
      mayBeSealed ||= !isRefused && isLost(error);
      throw error;
    }
  };
  await session.ask('completing the snapshot', call, { fresh: true, detail: job.detail });
  job.detail('AWS puts the snapshot together');
  await completed(session, job.region, begun.snapshotId);
}

/** Whether a call may have taken effect although it failed: no answer, or one that isn't the API's refusal. */
function isLost(error: unknown): boolean {
  const status = (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode;
  return status === undefined || status >= 500 || status < 300;
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / GIB) * GIB;
}
