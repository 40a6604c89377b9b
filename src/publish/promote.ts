import type { Channel, Cloud, CloudImage } from '../clouds/cloud.ts';
import { inputError } from '../process/errors.ts';

/** One channel's step in one region. */
export interface Move {
  region: string;
  channel: Channel;
  /** Our ID of the image that it points at now (IDs, after a move that was cut short); null: none. */
  from: string | null;
  /** Our ID of the image that it shall point at. */
  to: string | null;
  image: CloudImage | undefined;
  /** It points there already, and at nothing else. */
  isDone: boolean;
}

interface Place {
  region: string;
  images: CloudImage[];
}

/**
 * The images that a channel points at. More than one where a move was cut short in a cloud that labels images: there the new
 * one gets the label before the old one loses it.
 */
const holders = ({ images }: Place, channel: Channel) => images.filter(({ channels }) => channels.includes(channel));

const names = (images: CloudImage[]) => images.map(({ image }) => image).join(' and ') || 'none';

async function placesOf(cloud: Cloud, base: string): Promise<Place[]> {
  const places: Place[] = [];
  for (const region of cloud.regions)
    places.push({ region, images: (await cloud.list(region)).filter((image) => image.base === base) });
  return places;
}

/**
 * The step that makes a channel point at an image and at nothing else. Where it does already the step is there too: a cloud
 * may have been cut short at what follows a channel (AWS' tags follow its parameters).
 */
function move(place: Place, channel: Channel, image: CloudImage | undefined): Move {
  const now = holders(place, channel);
  const rest = now.length > 1 ? now.filter(({ imageId }) => imageId !== image?.imageId) : now;
  const from = rest.length > 0 ? names(rest) : null;
  const isDone = now.length === 1 ? now[0]?.imageId === image?.imageId : now.length === 0 && !image;
  return { region: place.region, channel, from, to: image?.image ?? null, image, isDone };
}

/** @throws BuildError (input) unless launches may take it, and it is of the same bytes in every region. */
function refuseUnfit(images: { region: string; image: CloudImage }[]): void {
  for (const { region, image } of images) {
    if (!image.proven)
      throw refused(`${image.image} isn't proven in ${region}`, 'publish it again: it is checked then');
    if (image.deprecated)
      throw refused(`${image.image} is deprecated in ${region}, and will be removed`, 'bake and publish a new one');
  }
  if (new Set(images.map(({ image }) => image.digest)).size > 1)
    throw refused(
      `the regions have different disks by this name: ${images.map(({ region, image }) => `${region} ${image.digest}`).join(', ')}`,
      'bake a new image and publish that: make bake ARGS=--force',
    );
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
  const targets = places.map((place) => {
    const image = best(place.images.filter(({ image }) => image === wanted));
    if (image) return { ...place, image };
    throw refused(
      `${place.region} has no ${wanted}`,
      `publish it there: npm run publish -- --cloud ${cloud.name} --region ${cloud.regions.join(',')}`,
    );
  });
  refuseUnfit(targets);
  return targets.flatMap(({ image, ...place }) => {
    // Another by the same name is no way back: two runs have published one image.
    const before = holders(place, 'latest').find((one) => one.image !== image.image);
    const previous = before ?? holders(place, 'previous')[0];
    return [...(previous ? [move(place, 'previous', previous)] : []), move(place, 'latest', image)];
  });
}

/** Of several by one name (two runs have published it): the candidate, else one that may be promoted. */
function best(named: CloudImage[]): CloudImage | undefined {
  const isFit = ({ proven, deprecated }: CloudImage) => proven && !deprecated;
  const fit = named.filter(isFit);
  return fit.find(({ channels }) => channels.includes('candidate')) ?? fit[0] ?? named[0];
}

function candidateOf(places: Place[], cloud: string, base: string): string {
  const publish = `npm run publish -- --cloud ${cloud}`;
  const found = places.map((place) => ({ region: place.region, candidates: holders(place, 'candidate') }));
  const said = found.map(({ region, candidates }) => `${region} ${names(candidates)}`);
  if (found.some(({ candidates }) => candidates.length > 1))
    throw refused(`a publication was cut short: ${said.join(', ')}`, `finish it, or name one with --image: ${publish}`);
  const [only, ...others] = new Set(found.map(({ candidates: [one] }) => one?.image));
  if (others.length > 0)
    throw refused(
      `the regions have different candidates: ${said.join(', ')}`,
      'publish the newest in all of them, or name one: --image <id>',
    );
  if (!only) throw refused(`there is no candidate of ${base}`, publish);
  return only;
}

/**
 * What would make `previous` the `latest` again. A region where that is done already, by a rollback that was interrupted,
 * counts as done.
 * @throws BuildError (input) where there is nothing to go back to, or not everywhere.
 */
export async function planRollback(cloud: Cloud, base: string): Promise<Move[]> {
  const places = await placesOf(cloud, base);
  const unfinished = 'finish it: promote once more; or name what shall be latest: promote --image <id>';
  const previousOf = (place: Place) => {
    const found = holders(place, 'previous');
    // A promotion that was cut while it remembered what is still the latest: what was previous before is what counts.
    const remembered = holders(place, 'latest');
    return found.length > 1 && remembered.length === 1 ? found.filter((one) => one !== remembered[0]) : found;
  };
  if (places.some((place) => previousOf(place).length > 1))
    throw refused('the last promotion was cut short', unfinished);
  const previous = (place: Place) => previousOf(place)[0];
  const wanted = places.map(previous).find(Boolean)?.image;
  if (!wanted) throw refused(`nothing was latest before, of ${base}`, 'name an image: promote --image <id>');
  const targets = places.map((place) => {
    const image = [previous(place), ...holders(place, 'latest')].find((one) => one?.image === wanted);
    if (image) return { ...place, image };
    throw refused(`${place.region} has no ${wanted} to go back to`, 'promote --image <id> in all regions');
  });
  refuseUnfit(targets);
  const moves = targets.flatMap(({ image, ...place }) => [
    move(place, 'latest', image),
    move(place, 'previous', undefined),
  ]);
  // A promotion that was cut short before it moved anything has only remembered.
  const older = places.some((place) => ![undefined, wanted].includes(previous(place)?.image));
  if (older && !moves.some(({ channel, isDone }) => channel === 'latest' && !isDone))
    throw refused('the last promotion never took effect', unfinished);
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
