import type { Image } from '@aws-sdk/client-ec2';
import { LABELS, type Orphan } from '../cloud.ts';
import { describe, FAILED, snapshotIdOf } from './describe.ts';
import { deregister } from './images.ts';
import { terminate } from './instances.ts';
import { labelsFrom, OURS } from './labels.ts';
import { probes } from './probe.ts';
import type { Session } from './session.ts';
import { deleteSnapshot, ourSnapshots } from './snapshots.ts';

/**
 * Machines that were booted to look, images that failed, and snapshots that no image uses: begun, or uploaded and never
 * registered. What a launch made is its own to sweep, machines and groups alike.
 * @see Cloud.orphans
 */
export async function orphans(session: Session, region: string): Promise<Orphan[]> {
  const [instances, snapshots, images] = await Promise.all([
    probes(session, region),
    ourSnapshots(session, region),
    // Also images that somebody else of this account registered from our snapshots.
    describe(session, region, {}),
  ]);
  const used = new Set(images.filter((image) => !isFailed(image)).flatMap(snapshotsOf));
  // A copy that is on its way doesn't name its snapshot yet.
  const pending = new Set(
    images.filter(({ State }) => State === 'pending').map(({ Tags }) => labelsFrom(Tags)[LABELS.run]),
  );
  return [
    ...instances.map((instance) => ({
      ...about(region, instance.Tags),
      kind: 'instance',
      id: instance.InstanceId as string,
      created: instance.LaunchTime?.toISOString(),
    })),
    ...images
      .filter((image) => isFailed(image) && isOurs(image))
      .map((image) => ({
        ...about(region, image.Tags),
        kind: 'image',
        id: image.ImageId as string,
        created: image.CreationDate,
      })),
    ...snapshots
      .filter(({ SnapshotId, Tags }) => !used.has(SnapshotId as string) && !pending.has(labelsFrom(Tags)[LABELS.run]))
      .map((snapshot) => ({
        ...about(region, snapshot.Tags),
        kind: 'snapshot',
        id: snapshot.SnapshotId as string,
        created: snapshot.StartTime?.toISOString(),
      })),
  ];
}

/** @see Cloud.removeOrphan */
export async function removeOrphan(session: Session, { region, kind, id }: Orphan): Promise<void> {
  if (kind === 'instance') return terminate(session, region, id);
  if (kind === 'snapshot') return void (await deleteSnapshot(session, region, id));
  const [image] = await describe(session, region, { ids: [id] });
  if (image) await deregister(session, region, id, snapshotIdOf(image));
}

function about(region: string, tags: Parameters<typeof labelsFrom>[0]): { region: string; run: string } {
  return { region, run: labelsFrom(tags)[LABELS.run] ?? '' };
}

function isFailed({ State }: Image): boolean {
  return FAILED.has(State ?? '');
}

function isOurs({ Tags }: Image): boolean {
  return (Tags ?? []).some(({ Key, Value }) => OURS.Name === `tag:${Key}` && OURS.Values?.includes(Value ?? ''));
}

function snapshotsOf({ BlockDeviceMappings }: Image): string[] {
  return (BlockDeviceMappings ?? []).flatMap(({ Ebs }) => Ebs?.SnapshotId ?? []);
}
