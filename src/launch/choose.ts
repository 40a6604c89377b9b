import { CHANNELS, type Channel, type Cloud, type CloudImage } from '../clouds/cloud.ts';
import { inputError } from '../process/errors.ts';

/**
 * The published image that is meant, as the cloud itself lists it.
 *
 * @param wanted a channel (`latest`), our image ID, or the cloud's own (`ami-…`).
 * @param base of a channel; undefined where only one base has that channel.
 * @throws BuildError (input) where there is none, or it may not be launched: unproven, or deprecated.
 */
export async function chooseImage(
  cloud: Pick<Cloud, 'name' | 'list'>,
  region: string,
  wanted: string,
  base: string | undefined,
): Promise<CloudImage> {
  const images = await cloud.list(region);
  const byChannel = (CHANNELS as readonly string[]).includes(wanted);
  const found = images.filter((image) =>
    byChannel
      ? image.channels.includes(wanted as Channel) && (!base || image.base === base)
      : image.image === wanted || image.imageId === wanted,
  );
  const [image, other] = found;
  if (!image)
    throw inputError(
      'launch',
      `${cloud.name} has no ${byChannel ? `channel ${wanted}${base ? ` of ${base}` : ''}` : `image ${wanted}`} in ${region}`,
      `there are: ${images.map((one) => one.image).join(', ') || 'none; npm run publish'}`,
    );
  if (other)
    throw inputError('launch', `${wanted} is of several bases`, `--base ${found.map((one) => one.base).join(' or ')}`);
  if (!image.proven)
    throw inputError('launch', `${image.image} was never booted and checked there`, 'publish it again: it goes on');
  if (image.deprecated)
    throw inputError('launch', `${image.image} is deprecated since ${image.deprecated}`, 'a newer one: --image latest');
  return image;
}
