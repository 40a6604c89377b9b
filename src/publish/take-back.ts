import type { Cloud, CloudImage } from '../clouds/cloud.ts';
import type { Progress } from '../process/progress.ts';
import type { Journal, Publication } from './journal.ts';
import { Unfit } from './witness.ts';

/** Removes what a run needed only for a while: probes, keys, servers, a snapshot that became no image. */
export async function sweepRun(cloud: Cloud, region: string, run: string): Promise<void> {
  for (const orphan of await cloud.orphans(region)) if (orphan.run === run) await cloud.removeOrphan(orphan);
}

/** Whether somebody was told the image's ID: then it isn't ours alone to take away, also where its label is gone. */
function wasPublished(cloud: Cloud, { publications }: Journal, imageId: string | null): boolean {
  // Hetzner's snapshots are in every location: whichever an entry names.
  return publications.some((one) => one.cloud === cloud.name && one.image_id === imageId && one.recorded !== null);
}

/** Removes all that a run has made; but what somebody else has proven, named or used meanwhile isn't ours to take. */
export async function removeRun(cloud: Cloud, journal: Journal, region: string, run: string): Promise<void> {
  const isOurs = (image: CloudImage) =>
    image.run === run &&
    !image.proven &&
    !image.channels.length &&
    !image.usedBy.length &&
    !wasPublished(cloud, journal, image.imageId);
  for (const image of await cloud.list(region)) if (isOurs(image)) await cloud.remove(image);
  await sweepRun(cloud, region, run);
}

/**
 * After a failure. An image that isn't fit goes, and so does what is half-made; one that only couldn't be looked at stays
 * registered, for the next run, and so does one that was published before: somebody may know its ID. What can't be taken back
 * is said, and stays in the journal.
 */
export async function takeBack(
  cloud: Cloud,
  journal: Journal,
  entry: Publication,
  error: unknown,
  progress: Progress,
): Promise<void> {
  const { region, run, state } = entry;
  try {
    const unfit = error instanceof Unfit;
    const stays = unfit && wasPublished(cloud, journal, entry.image_id);
    if (stays)
      progress.say(
        `!! ${cloud.name} ${region}: ${entry.image_id} was published before, and stays, unproven: bake a new image, or publish it again`,
      );
    if (unfit) await removeRun(cloud, journal, region, run);
    else await sweepRun(cloud, region, run);
    if ((unfit && !stays) || state === 'started' || state === 'uploaded') journal.update(entry, { state: 'failed' });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    progress.say(`!! ${cloud.name} ${region}: what run ${run} has made isn't all taken back: ${why}`);
    progress.say(`!! it has the label clawdy-run=${run}; ${pruneIn(cloud.name, region)} removes it`);
  }
}

/** The command that sweeps. */
export function pruneIn(cloud: string, regions: string): string {
  return `npm run prune -- --cloud ${cloud} --region ${regions}`;
}
