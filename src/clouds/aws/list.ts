import {
  DescribeImageReferencesCommand,
  type Image,
  type ImageReference,
  type ResourceTypeRequest,
} from '@aws-sdk/client-ec2';
import { type CloudImage, LABELS } from '../cloud.ts';
import { channelsOf, isChannelArn } from './channels.ts';
import { describe, FAILED, snapshotIdOf } from './describe.ts';
import { codeOf } from './errors.ts';
import { labelsFrom, OURS } from './labels.ts';
import { allProbes } from './probe.ts';
import type { Session } from './session.ts';

/** DescribeImageReferences takes no more images at once. */
const AT_ONCE = 10;

/** Versions of each launch template that are looked at, from the newest: as many as a template can have; by default it is 10. */
const TEMPLATES: ResourceTypeRequest = {
  ResourceType: 'ec2:LaunchTemplate',
  ResourceTypeOptions: [{ OptionName: 'version-depth', OptionValues: ['10000'] }],
};

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

/** Our own deprecation begins up to two minutes ahead (deprecate); one further ahead, as public images get, isn't yet. */
const SOON = 3 * 60_000;

function deprecation({ DeprecationTime }: Image): Pick<CloudImage, 'deprecated'> {
  const isDeprecated = DeprecationTime && Date.parse(DeprecationTime) <= Date.now() + SOON;
  return isDeprecated ? { deprecated: iso(DeprecationTime) } : {};
}

function iso(time: string | undefined): string | undefined {
  return time ? new Date(time).toISOString() : undefined;
}

/** Where AWS can't say what uses an image, somebody may: it isn't removed. */
const UNKNOWN = "whatever AWS can't name in this region";

/**
 * Image → ARNs of the account's resources that use it: instances, launch templates, parameters, recipes. Our channels and
 * the machines that we boot to look at an image aren't use.
 */
async function usersOf(session: Session, region: string, ids: string[]): Promise<Map<string, string[]>> {
  const found: ImageReference[] = [];
  for (let at = 0; at < ids.length; at += AT_ONCE)
    found.push(...(await referencesTo(session, region, ids.slice(at, at + AT_ONCE))));
  const isInstance = ({ Arn }: ImageReference) => Arn?.includes(':instance/') ?? false;
  const ours = found.some(isInstance) ? (await allProbes(session, region)).map(({ InstanceId }) => InstanceId) : [];
  const users = new Map<string, string[]>();
  for (const { ImageId = '', Arn = '' } of found) {
    if (isChannelArn(Arn) || ours.includes(Arn.split(':instance/')[1])) continue;
    users.set(ImageId, [...(users.get(ImageId) ?? []), Arn]);
  }
  return users;
}

async function referencesTo(session: Session, region: string, ids: string[]): Promise<ImageReference[]> {
  const found: ImageReference[] = [];
  let next: string | undefined;
  do {
    const page = await session.ask(
      'looking for what uses the images',
      async () => {
        try {
          return await session.ec2(region).send(
            new DescribeImageReferencesCommand({
              ImageIds: ids,
              IncludeAllResourceTypes: true,
              ResourceTypes: [TEMPLATES],
              NextToken: next,
            }),
          );
        } catch (error) {
          // Younger than the rest of the API, and not in every partition.
          if (!['InvalidAction', 'UnsupportedOperation'].includes(codeOf(error))) throw error;
          return { ImageReferences: ids.map((ImageId) => ({ ImageId, Arn: UNKNOWN })), NextToken: undefined };
        }
      },
      { fresh: true },
    );
    found.push(...(page.ImageReferences ?? []));
    next = page.NextToken;
  } while (next);
  return found;
}
