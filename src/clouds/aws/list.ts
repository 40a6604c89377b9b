import { DescribeImageReferencesCommand, type Image } from '@aws-sdk/client-ec2';
import { type CloudImage, LABELS } from '../cloud.ts';
import { channelsOf, isChannelArn } from './channels.ts';
import { describe, FAILED, snapshotIdOf } from './describe.ts';
import { labelsFrom, OURS } from './labels.ts';
import type { Session } from './session.ts';

/** DescribeImageReferences takes no more images at once. */
const AT_ONCE = 10;

/** @see Cloud.list */
export async function list(session: Session, region: string): Promise<CloudImage[]> {
  const all = await describe(session, region, { filters: [OURS] });
  const images = all.filter(({ State }) => !FAILED.has(State ?? ''));
  const [channels, users] = await Promise.all([
    channelsOf(session, region),
    usersOf(
      session,
      region,
      images.flatMap(({ ImageId }) => ImageId ?? []),
    ),
  ]);
  return images.map((image) => {
    const imageId = image.ImageId as string;
    const labels = labelsFrom(image.Tags);
    return {
      region,
      imageId,
      snapshotId: snapshotIdOf(image) ?? '',
      image: labels[LABELS.image] ?? '',
      base: labels[LABELS.base] ?? '',
      digest: labels[LABELS.digest] ?? '',
      run: labels[LABELS.run] ?? '',
      created: iso(image.CreationDate) ?? '',
      proven: labels[LABELS.proven] === 'yes',
      channels: channels.filter((channel) => channel.imageId === imageId).map(({ channel }) => channel),
      ...deprecation(image),
      usedBy: users.get(imageId) ?? [],
    };
  });
}

function deprecation({ DeprecationTime }: Image): Pick<CloudImage, 'deprecated'> {
  return DeprecationTime ? { deprecated: iso(DeprecationTime) } : {};
}

function iso(time: string | undefined): string | undefined {
  return time ? new Date(time).toISOString() : undefined;
}

/** Image → ARNs of the account's resources that use it: instances, launch templates, parameters, recipes; but our channels. */
async function usersOf(session: Session, region: string, ids: string[]): Promise<Map<string, string[]>> {
  const users = new Map<string, string[]>();
  for (let at = 0; at < ids.length; at += AT_ONCE) {
    let next: string | undefined;
    do {
      const page = await session.ask(
        'looking for what uses the images',
        () =>
          session.ec2(region).send(
            new DescribeImageReferencesCommand({
              ImageIds: ids.slice(at, at + AT_ONCE),
              IncludeAllResourceTypes: true,
              NextToken: next,
            }),
          ),
        { fresh: true },
      );
      for (const { ImageId, Arn } of page.ImageReferences ?? [])
        if (ImageId && Arn && !isChannelArn(Arn)) users.set(ImageId, [...(users.get(ImageId) ?? []), Arn]);
      next = page.NextToken;
    } while (next);
  }
  return users;
}
