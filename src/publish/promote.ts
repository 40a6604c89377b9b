import type { Channel, Cloud, CloudImage } from '../clouds/cloud.ts';
import { inputError } from '../process/errors.ts';

/** One channel's step in one region. */
export interface Move {
  region: string;
  channel: Channel;
  /** Our ID of the image that it points at now; null: none. */
  from: string | null;
  /** Our ID of the image that it shall point at. */
  to: string | null;
  image: CloudImage | undefined;
}

interface Place {
  region: string;
  images: CloudImage[];
}

const at = ({ images }: Place, channel: Channel) => images.find(({ channels }) => channels.includes(channel));

async function placesOf(cloud: Cloud, base: string): Promise<Place[]> {
  const places: Place[] = [];
  for (const region of cloud.regions)
    places.push({ region, images: (await cloud.list(region)).filter((image) => image.base === base) });
  return places;
}

function move(place: Place, channel: Channel, image: CloudImage | undefined): Move[] {
  const from = at(place, channel);
  if (from?.imageId === image?.imageId) return [];
  return [{ region: place.region, channel, from: from?.image ?? null, to: image?.image ?? null, image }];
}

/**
 * What would make `candidate` (or a named image) the one that launches take. Each region first remembers its `latest` as
 * `previous`, so that an interrupted promotion is finished by the next and never forgets the way back.
 *
 * @param id our ID of an image, instead of the candidate.
 * @throws BuildError (input) where a region lacks it, or it isn't proven there.
 */
export async function planPromote(cloud: Cloud, base: string, id: string | undefined): Promise<Move[]> {
  const places = await placesOf(cloud, base);
  const wanted = id ?? candidateOf(places, cloud.name, base);
  return places.flatMap((place) => {
    const image = place.images.find((one) => one.image === wanted && one.proven);
    if (image?.deprecated)
      throw refused(`${wanted} is deprecated in ${place.region}, and will be removed`, 'bake and publish a new one');
    if (!image)
      throw refused(
        `${place.region} has no proven ${wanted}`,
        `publish it there: npm run publish -- --cloud ${cloud.name} --region ${cloud.regions.join(',')}`,
      );
    const latest = at(place, 'latest');
    if (latest?.imageId === image.imageId) return [];
    return [...(latest ? move(place, 'previous', latest) : []), ...move(place, 'latest', image)];
  });
}

function candidateOf(places: Place[], cloud: string, base: string): string {
  const candidates = [...new Set(places.map((place) => at(place, 'candidate')?.image ?? 'none'))];
  const [only] = candidates;
  if (candidates.length > 1)
    throw refused(
      `the regions have different candidates: ${places.map((place) => `${place.region} ${at(place, 'candidate')?.image ?? 'none'}`).join(', ')}`,
      'publish the newest in all of them, or name one: --image <id>',
    );
  if (!only || only === 'none')
    throw refused(`there is no candidate of ${base}`, `npm run publish -- --cloud ${cloud}`);
  return only;
}

/**
 * What would make `previous` the `latest` again. A region where that is done already, by a rollback that was interrupted,
 * counts as done.
 * @throws BuildError (input) where there is nothing to go back to, or not everywhere.
 */
export async function planRollback(cloud: Cloud, base: string): Promise<Move[]> {
  const places = await placesOf(cloud, base);
  const wanted = places.map((place) => at(place, 'previous')).find(Boolean)?.image;
  if (!wanted) throw refused(`nothing was latest before, of ${base}`, 'name an image: promote --image <id>');
  const moves = places.flatMap((place) => {
    const image = [at(place, 'previous'), at(place, 'latest')].find((one) => one?.image === wanted);
    if (!image) throw refused(`${place.region} has no ${wanted} to go back to`, 'promote --image <id> in all regions');
    return [...move(place, 'latest', image), ...move(place, 'previous', undefined)];
  });
  // A promotion that was cut short before it moved anything has only remembered.
  const older = places.some((place) => ![undefined, wanted].includes(at(place, 'previous')?.image));
  if (older && !moves.some(({ channel }) => channel === 'latest'))
    throw refused('the last promotion never took effect', 'finish it first: promote once more, then roll back');
  return moves;
}

/** Carries a plan out, in its order. */
export async function carryOut(cloud: Cloud, base: string, moves: Move[]): Promise<void> {
  for (const { region, channel, image } of moves) await cloud.setChannel(region, base, channel, image);
}

export function renderMove({ region, channel, from, to }: Move): string {
  return `${region}: ${channel} ${from ?? 'none'} → ${to ?? 'none'}`;
}

function refused(why: string, hint: string) {
  return inputError('promote', why, hint);
}
