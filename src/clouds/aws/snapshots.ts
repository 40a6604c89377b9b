import { DeleteSnapshotCommand, DescribeSnapshotsCommand, type Snapshot } from '@aws-sdk/client-ec2';
import { BuildError } from '../../process/errors.ts';
import { isDenied, isGone } from './errors.ts';
import { OURS, ofRun } from './labels.ts';
import type { Session } from './session.ts';

/** One snapshot as AWS describes it; undefined when it isn't there. */
export function snapshotOf(session: Session, region: string, id: string): Promise<Snapshot | undefined> {
  return session.ask(`looking at ${id}`, async () => {
    try {
      const { Snapshots } = await session.ec2(region).send(new DescribeSnapshotsCommand({ SnapshotIds: [id] }));
      return Snapshots?.[0];
    } catch (error) {
      if (isGone(error)) return undefined;
      throw error;
    }
  });
}

/** Our snapshots of a region, or those of one run. */
export async function ourSnapshots(session: Session, region: string, run?: string): Promise<Snapshot[]> {
  const found: Snapshot[] = [];
  let next: string | undefined;
  do {
    const page = await session.ask('listing snapshots', () =>
      session.ec2(region).send(
        new DescribeSnapshotsCommand({
          OwnerIds: ['self'],
          Filters: run ? [OURS, ofRun(run)] : [OURS],
          MaxResults: 1000,
          NextToken: next,
        }),
      ),
    );
    found.push(...(page.Snapshots ?? []));
    next = page.NextToken;
  } while (next);
  return found;
}

/** Waits until a snapshot holds its bytes. @throws BuildError when AWS gave it up. */
export function completed(session: Session, region: string, id: string): Promise<Snapshot> {
  const freshUntil = performance.now() + session.times.fresh;
  return session.until(`snapshot ${id}`, session.times.snapshot, async () => {
    const snapshot = await snapshotOf(session, region, id);
    if (snapshot?.State === 'completed') return snapshot;
    // EBS knows it already, EC2 may not yet.
    if (!snapshot && performance.now() < freshUntil) return undefined;
    if (!snapshot || snapshot.State === 'error')
      throw new BuildError(
        'aws',
        `snapshot ${id} failed${snapshot?.StateMessage ? `: ${snapshot.StateMessage}` : ''}`,
        'run the same command again: it discards that snapshot and sends the disk anew',
      );
    return undefined;
  });
}

/** Deletes a snapshot; one that is gone, or that another image uses, is left as it is. @returns whether it is gone. */
export async function deleteSnapshot(session: Session, region: string, id: string): Promise<boolean> {
  return session.ask(`deleting ${id}`, async () => {
    try {
      await session.ec2(region).send(new DeleteSnapshotCommand({ SnapshotId: id }));
      return true;
    } catch (error) {
      if (isGone(error) || (isDenied(error) && !(await snapshotOf(session, region, id)))) return true;
      // Another image was registered from it: not ours to take away.
      if ((error as Error).name === 'InvalidSnapshot.InUse') return false;
      throw error;
    }
  });
}
