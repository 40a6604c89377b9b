import { createHash } from 'node:crypto';
import { BLOCK_BYTES } from '../../../src/seal/digest.ts';
import type { Handler } from './handler.ts';
import { ACCOUNT, GIB, newId, type Region, type Snapshot, tagList, tagsFrom } from './state.ts';
import { ApiError } from './wire.ts';

const invalid = (message: string) => new ApiError('ValidationException', message);

function pendingSnapshot(region: Region, id: unknown): Snapshot {
  const snapshot = region.snapshots.get(id as string);
  if (!snapshot) throw new ApiError('ResourceNotFoundException', `The snapshot ${id} does not exist.`, 404);
  if (snapshot.state !== 'pending' || snapshot.sealed) throw invalid(`The snapshot ${id} is not in the pending state.`);
  return snapshot;
}

/** EBS' direct API. */
export const EBS: Record<string, Handler> = {
  StartSnapshot: ({ state, region }, input) => {
    const { VolumeSize, ParentSnapshotId, Tags, Description, ClientToken, Encrypted, Timeout } = input;
    const size = VolumeSize as number;
    if (!Number.isInteger(size) || size < 1 || size > 65536) throw invalid('VolumeSize must be 1 to 65536 GiB');
    if (Timeout !== undefined && ((Timeout as number) < 10 || (Timeout as number) > 4320))
      throw invalid('Timeout must be 10 to 4320 minutes');
    const { encryptsByDefault } = state.behaviour;
    let parent: Snapshot | undefined;
    if (ParentSnapshotId !== undefined) {
      if (Encrypted !== undefined || encryptsByDefault)
        throw invalid('Encrypted and ParentSnapshotId exclude each other');
      parent = region.snapshots.get(ParentSnapshotId as string);
      if (!parent) throw new ApiError('ResourceNotFoundException', `no parent ${ParentSnapshotId}`, 404);
      if (parent.state !== 'completed' || parent.encrypted) throw invalid('the parent is not completed, or encrypted');
      if (parent.volumeSize > size) throw invalid('VolumeSize is smaller than the parent');
    }
    const conflict = new ApiError('ConflictException', 'The client token was used for another request.', 409);
    const id = state.once(region, ClientToken, { ...input, op: 'StartSnapshot' }, conflict, () => {
      const made = newId('snap');
      region.snapshots.set(made, {
        id: made,
        volumeSize: size,
        state: 'pending',
        sealed: false,
        failure: undefined,
        looks: 0,
        tags: tagsFrom(Tags),
        description: Description as string | undefined,
        encrypted: Boolean(Encrypted) || encryptsByDefault,
        started: new Date(),
        blocks: new Map(parent?.blocks),
        put: new Map(),
      });
      return made;
    });
    const snapshot = region.snapshots.get(id);
    return {
      SnapshotId: id,
      OwnerId: ACCOUNT,
      Status: snapshot?.state ?? 'error',
      StartTime: snapshot?.started,
      VolumeSize: size,
      BlockSize: BLOCK_BYTES,
      ParentSnapshotId,
      Description,
      Tags: tagList(snapshot?.tags ?? new Map()),
    };
  },

  PutSnapshotBlock: ({ state, region }, input) => {
    const snapshot = pendingSnapshot(region, input.SnapshotId);
    const index = input.BlockIndex as number;
    const block = input.BlockData as Buffer;
    if (!Number.isInteger(index) || index < 0 || index >= (snapshot.volumeSize * GIB) / BLOCK_BYTES)
      throw invalid(`BlockIndex ${index} is outside of the volume`);
    if (input.DataLength !== BLOCK_BYTES || block.length !== BLOCK_BYTES)
      throw invalid(`DataLength must be ${BLOCK_BYTES}, and the body of that length`);
    const sha256 = createHash('sha256').update(block).digest();
    if (sha256.toString('base64') !== input.Checksum)
      throw new ApiError(
        'InvalidSignatureException',
        'The checksum of the block does not match the value of x-amz-Checksum.',
        403,
      );
    state.write(snapshot, index, block, sha256);
    return { Checksum: input.Checksum, ChecksumAlgorithm: 'SHA256' };
  },

  CompleteSnapshot: ({ state, region }, input) => {
    // EBS may find out only afterwards: it answers, and the snapshot fails.
    const wrong = (message: string) => {
      if (!state.behaviour.completesBlindly) throw invalid(message);
      snapshot.failure ??= message;
    };
    const snapshot = pendingSnapshot(region, input.SnapshotId);
    const { ChangedBlocksCount, Checksum, ChecksumAlgorithm, ChecksumAggregationMethod } = input;
    if (ChangedBlocksCount !== snapshot.put.size)
      wrong(`ChangedBlocksCount is ${ChangedBlocksCount}, but ${snapshot.put.size} blocks were put`);
    const given = [Checksum, ChecksumAlgorithm, ChecksumAggregationMethod].filter(
      (value) => value !== undefined,
    ).length;
    if (given !== 0 && given !== 3)
      throw invalid('Checksum, ChecksumAlgorithm and ChecksumAggregationMethod go together');
    if (given === 3) {
      const all = createHash('sha256');
      for (const [, digest] of [...snapshot.put].sort(([a], [b]) => a - b)) all.update(digest);
      if (all.digest('base64') !== Checksum) wrong('The aggregate checksum does not match.');
    }
    snapshot.sealed = true;
    return { Status: 'pending' };
  },
};
