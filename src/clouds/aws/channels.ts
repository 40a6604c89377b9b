import { CreateTagsCommand, DeleteTagsCommand } from '@aws-sdk/client-ec2';
import {
  AddTagsToResourceCommand,
  DeleteParameterCommand,
  GetParameterCommand,
  GetParametersByPathCommand,
  type Parameter,
  PutParameterCommand,
} from '@aws-sdk/client-ssm';
import { CHANNELS, type Channel, type CloudImage, LABELS, OWNER } from '../cloud.ts';
import { describe } from './describe.ts';
import { isGone } from './errors.ts';
import { OURS, tagsOf } from './labels.ts';
import type { Session } from './session.ts';

/** All our parameters lie under it. */
const ROOT = '/clawdy';

/** Name of the parameter that consumers read: `/clawdy/debian-13/latest`. */
export function parameterOf(base: string, channel: Channel): string {
  return `${ROOT}/${base}/${channel}`;
}

/** Whether an ARN is of one of our own channels; parameters that others made count as use of an image. */
export function isChannelArn(arn: string): boolean {
  return CHANNELS.some((channel) => new RegExp(`:parameter${ROOT}/[^/]+/${channel}$`).test(arn));
}

/** Base and channel → AMI, as the parameters say: they are what launches go by. */
export async function channelsOf(
  session: Session,
  region: string,
): Promise<{ base: string; channel: Channel; imageId: string }[]> {
  const found: { base: string; channel: Channel; imageId: string }[] = [];
  let next: string | undefined;
  do {
    const page: { Parameters?: Parameter[] | undefined; NextToken?: string | undefined } = await session.ask(
      'reading channels',
      () => session.ssm(region).send(new GetParametersByPathCommand({ Path: ROOT, Recursive: true, NextToken: next })),
    );
    for (const { Name, Value } of page.Parameters ?? []) {
      const [, , base, channel] = (Name ?? '').split('/');
      if (base && Value && CHANNELS.includes(channel as Channel))
        found.push({ base, channel: channel as Channel, imageId: Value });
    }
    next = page.NextToken;
  } while (next);
  return found;
}

/**
 * The parameter first, which is what consumers read and what `list` reports; the tag follows for people in the console.
 * @see Cloud.setChannel
 */
export async function setChannel(
  session: Session,
  region: string,
  base: string,
  channel: Channel,
  to: CloudImage | undefined,
): Promise<void> {
  if (to) await point(session, region, base, channel, to.imageId);
  else await unset(session, region, parameterOf(base, channel));
  await tag(session, region, base, channel, to?.imageId);
}

async function point(session: Session, region: string, base: string, channel: Channel, imageId: string): Promise<void> {
  const name = parameterOf(base, channel);
  const ssm = session.ssm(region);
  if ((await read(session, region, name)) !== imageId) {
    await session.ask(`pointing ${name} at ${imageId}`, () =>
      ssm.send(
        new PutParameterCommand({
          Name: name,
          Value: imageId,
          Type: 'String',
          // SSM itself then takes nothing but an image that exists.
          DataType: 'aws:ec2:image',
          Tier: 'Standard',
          Overwrite: true,
        }),
      ),
    );
    // SSM answers before it has looked whether there is such an image, and drops the value when there isn't.
    await session.until(`parameter ${name}`, session.times.channel, async () =>
      (await read(session, region, name)) === imageId ? true : undefined,
    );
  }
  // Tags can't be given in the call that overwrites.
  await session.ask(`labelling ${name}`, () =>
    ssm.send(
      new AddTagsToResourceCommand({
        ResourceType: 'Parameter',
        ResourceId: name,
        Tags: tagsOf({ [LABELS.owner]: OWNER, [LABELS.base]: base }),
      }),
    ),
  );
}

function read(session: Session, region: string, name: string): Promise<string | undefined> {
  return session.ask(`reading ${name}`, async () => {
    try {
      const { Parameter } = await session.ssm(region).send(new GetParameterCommand({ Name: name }));
      return Parameter?.Value;
    } catch (error) {
      if (isGone(error)) return undefined;
      throw error;
    }
  });
}

function unset(session: Session, region: string, name: string): Promise<void> {
  return session.ask(`removing ${name}`, async () => {
    try {
      await session.ssm(region).send(new DeleteParameterCommand({ Name: name }));
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  });
}

/** Exactly the image of a channel has its tag. */
async function tag(
  session: Session,
  region: string,
  base: string,
  channel: Channel,
  imageId: string | undefined,
): Promise<void> {
  const Key = `clawdy-channel-${channel}`;
  const filters = [OURS, { Name: `tag:${LABELS.base}`, Values: [base] }, { Name: 'tag-key', Values: [Key] }];
  const others = (await describe(session, region, { filters }))
    .flatMap(({ ImageId }) => ImageId ?? [])
    .filter((id) => id !== imageId);
  const ec2 = session.ec2(region);
  if (imageId)
    await session.ask(`labelling ${imageId}`, () =>
      ec2.send(new CreateTagsCommand({ Resources: [imageId], Tags: [{ Key, Value: 'yes' }] })),
    );
  if (others.length > 0)
    await session.ask(`labelling ${others.join(', ')}`, () =>
      ec2.send(new DeleteTagsCommand({ Resources: others, Tags: [{ Key }] })),
    );
}
