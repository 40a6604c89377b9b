import {
  CopyImageCommand,
  CreateTagsCommand,
  DeregisterImageCommand,
  EnableImageDeprecationCommand,
  type Image,
  RegisterImageCommand,
} from '@aws-sdk/client-ec2';
import { BuildError } from '../../process/errors.ts';
import { type CloudImage, type Job, LABELS, labelsOf, type Registered } from '../cloud.ts';
import { describe, FAILED, snapshotIdOf } from './describe.ts';
import { codeOf, isDenied, isGone } from './errors.ts';
import { labelsFrom, tagsOf, tokenOf } from './labels.ts';
import type { Session } from './session.ts';
import { deleteSnapshot, snapshotOf } from './snapshots.ts';
import { uploadedSnapshot } from './upload.ts';

const BECOMING = new Set(['pending', 'transient']);

const ROOT_DEVICE = '/dev/sda1';

/** @see Cloud.register */
export async function register(session: Session, job: Job): Promise<Registered> {
  const { region, notes } = job;
  const name = nameOf(job);
  const snapshotId = uploadedSnapshot(notes);
  if (!snapshotId) throw new BuildError('aws', `${job.image.id} has no snapshot in ${region}`, 'run the upload first');
  return settle(session, job, region, async () => {
    job.note({ 'register.name': name });
    // RegisterImage has no client token: the name, unique in account and region, is what finds it again.
    const known = await byName(session, region, name);
    if (known) return usable(session, job, region, known);
    return session.ask(
      'registering the image',
      async () => {
        try {
          const { ImageId } = await session.ec2(region).send(
            new RegisterImageCommand({
              Name: name,
              Description: `${job.image.id}, baked ${job.image.created}`,
              // The API's own defaults are i386 and paravirtual.
              Architecture: 'x86_64',
              VirtualizationType: 'hvm',
              BootMode: 'uefi-preferred',
              EnaSupport: true,
              SriovNetSupport: 'simple',
              // Machines of this image answer for metadata only to whoever has a token.
              ImdsSupport: 'v2.0',
              RootDeviceName: ROOT_DEVICE,
              BlockDeviceMappings: [
                {
                  DeviceName: ROOT_DEVICE,
                  Ebs: { SnapshotId: snapshotId, VolumeType: 'gp3', DeleteOnTermination: true },
                },
              ],
              TagSpecifications: [{ ResourceType: 'image', Tags: tagsOf(labelsOf(job)) }],
            }),
          );
          return ImageId;
        } catch (error) {
          // Made by a call whose answer was lost; the next look finds it.
          if (codeOf(error) === 'InvalidAMIName.Duplicate') return undefined;
          throw error;
        }
      },
      { fresh: true, detail: job.detail },
    );
  });
}

/** @see Cloud.copy */
export async function copy(session: Session, job: Job, from: Registered & { region: string }): Promise<Registered> {
  const { region } = job;
  const name = nameOf(job);
  return settle(session, job, region, async () => {
    const known = await byName(session, region, name);
    if (known) return usable(session, job, region, known);
    const attempt = job.notes['copy.attempt'] ?? '1';
    job.note({ 'copy.name': name, 'copy.attempt': attempt });
    const tags = tagsOf(labelsOf(job));
    return session.ask(
      'copying the image',
      async () => {
        const { ImageId } = await session.ec2(region).send(
          new CopyImageCommand({
            Name: name,
            Description: `${job.image.id}, copied from ${from.region}`,
            SourceImageId: from.imageId,
            SourceRegion: from.region,
            ClientToken: tokenOf(job.run, 'copy', region, from.imageId, attempt),
            // Not CopyImageTags: it would copy the source's channels and proof, and leave the snapshot without labels.
            TagSpecifications: [
              { ResourceType: 'image', Tags: tags },
              { ResourceType: 'snapshot', Tags: tags },
            ],
          }),
        );
        return ImageId;
      },
      { fresh: true, detail: job.detail },
    );
  });
}

/** Makes or finds an image and waits until instances can be launched from it. */
async function settle(
  session: Session,
  job: Job,
  region: string,
  make: () => Promise<string | undefined>,
): Promise<Registered> {
  const imageId = await session.until(`image ${nameOf(job)}`, session.times.fresh, make);
  job.note({ image: imageId });
  const image = await available(session, job, imageId);
  const snapshotId = snapshotIdOf(image);
  if (!snapshotId) throw new BuildError('aws', `image ${imageId} names no snapshot`, 'look at it in the AWS console');
  await label(session, region, snapshotId, labelsOf(job));
  return { imageId, snapshotId };
}

/** Waits until instances can be launched from an image. @throws BuildError when it failed. */
export async function available(session: Session, { region, detail }: Job, imageId: string): Promise<Image> {
  const freshUntil = performance.now() + session.times.fresh;
  return session.until(`image ${imageId}`, session.times.image, async () => {
    const [found] = await describe(session, region, { ids: [imageId] });
    if (found?.State === 'available') return found;
    // Failed, or disabled by somebody: it will not become usable by itself.
    if (found ? !BECOMING.has(found.State ?? '') : performance.now() > freshUntil)
      throw new BuildError(
        'aws',
        `image ${imageId} ${found ? `is ${found.State}` : 'is gone'}${reasonOf(found)}`,
        'run the same command again: it makes the image anew',
      );
    detail(`${imageId} in ${region}: ${found?.State ?? 'not known everywhere yet'}`);
    return undefined;
  });
}

/** An image by our name: taken when it is of these bytes, removed when it failed. @returns undefined: make it anew. */
async function usable(session: Session, job: Job, region: string, image: Image): Promise<string | undefined> {
  const imageId = image.ImageId as string;
  if (FAILED.has(image.State ?? '')) {
    // What was uploaded is still good: only a copy's own snapshot goes with it.
    const snapshotId = snapshotIdOf(image);
    const uploaded = uploadedSnapshot(job.notes);
    if (uploaded && (!snapshotId || snapshotId === uploaded)) await deregisterOnly(session, region, imageId);
    else await deregister(session, region, imageId, snapshotId);
    job.note({ 'copy.attempt': String(Number(job.notes['copy.attempt'] ?? 1) + 1) });
    return undefined;
  }
  if (labelsFrom(image.Tags)[LABELS.digest] !== labelsOf(job)[LABELS.digest])
    throw new BuildError(
      'aws',
      `${imageId} in ${region} has the name ${nameOf(job)}, but isn't of this disk`,
      `deregister it, or bake anew: names are unique`,
    );
  return imageId;
}

/** @see Cloud.prove */
export async function label(
  session: Session,
  region: string,
  id: string,
  labels: Record<string, string>,
): Promise<void> {
  await session.ask(
    `labelling ${id}`,
    () => session.ec2(region).send(new CreateTagsCommand({ Resources: [id], Tags: tagsOf(labels) })),
    { fresh: true },
  );
}

/** @see Cloud.deprecate */
export async function deprecate(session: Session, { region, imageId }: CloudImage): Promise<void> {
  await session.ask(`deprecating ${imageId}`, () =>
    // AWS takes no time that is past and rounds to minutes: a minute from now is the soonest that is always valid.
    session.ec2(region).send(
      new EnableImageDeprecationCommand({
        ImageId: imageId,
        DeprecateAt: new Date(Math.ceil(Date.now() / 60_000) * 60_000 + 60_000),
      }),
    ),
  );
}

async function deregisterOnly(session: Session, region: string, imageId: string): Promise<void> {
  await session.ask(`deregistering ${imageId}`, async () => {
    try {
      await session.ec2(region).send(new DeregisterImageCommand({ ImageId: imageId }));
    } catch (error) {
      if (!(await isOver(session, region, imageId, error))) throw error;
    }
  });
}

async function isOver(session: Session, region: string, imageId: string, error: unknown): Promise<boolean> {
  if (isGone(error)) return true;
  return isDenied(error) && (await describe(session, region, { ids: [imageId] })).length === 0;
}

/** Removes an image and its snapshot; what is gone already is fine. @throws BuildError when AWS kept the snapshot. */
export async function deregister(
  session: Session,
  region: string,
  imageId: string,
  snapshotId?: string,
): Promise<void> {
  const results = await session.ask(`deregistering ${imageId}`, async () => {
    try {
      const answer = await session
        .ec2(region)
        .send(new DeregisterImageCommand({ ImageId: imageId, DeleteAssociatedSnapshots: true }));
      return answer.DeleteSnapshotResults ?? [];
    } catch (error) {
      if (await isOver(session, region, imageId, error)) return [];
      throw error;
    }
  });
  // The call succeeds although a snapshot stayed; its results say so. Whatever they say, what counts is what is there.
  for (const id of new Set([
    ...(snapshotId ? [snapshotId] : []),
    ...results.flatMap(({ SnapshotId }) => SnapshotId ?? []),
  ])) {
    if (!(await snapshotOf(session, region, id))) continue;
    if (await deleteSnapshot(session, region, id)) continue;
    const code = results.find(({ SnapshotId }) => SnapshotId === id)?.ReturnCode;
    // Another image was registered from it, by somebody else: it goes with that one.
    if (code === undefined || code === 'skipped') continue;
    throw new BuildError(
      'aws',
      `${imageId} is gone, its snapshot ${id} stayed (${code})`,
      'delete the other image that uses it, then prune again',
    );
  }
}

async function byName(session: Session, region: string, name: string): Promise<Image | undefined> {
  const [image] = await describe(session, region, { filters: [{ Name: 'name', Values: [name] }] });
  return image;
}

/** Unique in account and region, as an AMI's name must be; 3 to 128 characters. */
function nameOf({ image }: Job): string {
  return `clawdy-${image.id}`.slice(0, 128);
}

function reasonOf(image: Image | undefined): string {
  return image?.StateReason?.Message ? `: ${image.StateReason.Message}` : '';
}
