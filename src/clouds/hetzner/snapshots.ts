import { BuildError } from '../../process/errors.ts';
import { CHANNELS, type Channel, type CloudImage, type Job, LABELS, labelsOf, type Registered } from '../cloud.ts';
import type { HetznerApi } from './api.ts';
import { changed, OURS } from './labels.ts';
import type { Image } from './schemas.ts';
import { drop, writtenServer } from './upload.ts';

/** A snapshot's label that says since when it is deprecated: Hetzner deprecates only images of its own. */
const DEPRECATED = 'clawdy-deprecated';

const channelLabel = (channel: Channel) => `clawdy-${channel}`;
const registered = ({ id }: Image): Registered => ({ imageId: String(id), snapshotId: String(id) });

/** Snapshots of a run, whatever their state, oldest first. */
export function snapshotsOf(api: HetznerApi, job: Pick<Job, 'run'>): Promise<Image[]> {
  const label_selector = `${OURS},${LABELS.run}==${job.run}`;
  return api.call('looking for the snapshot', async () => {
    const found = await api.images({ type: 'snapshot', label_selector, sort: 'created:asc' });
    return found.filter(({ status }) => status !== 'unavailable');
  });
}

/** Snapshots the written server and waits; takes one that is there already. Then the server isn't needed any more. */
export async function register(api: HetznerApi, job: Job): Promise<Registered> {
  const description = `${job.image.id} (Clawdy Image)`;
  const made = await api.call(
    'creating the snapshot',
    async () => {
      // Of an interrupted run, or of a call whose answer was lost.
      const [known] = await snapshotsOf(api, job);
      if (known) return known;
      const server = await writtenServer(api, job);
      if (server === undefined)
        throw new BuildError(
          'hetzner',
          'the written server is gone or was started, and no snapshot is there',
          'publish again',
        );
      job.note({ snapshot: 'being made' });
      return api.createImage(server, description, labelsOf(job));
    },
    job.detail,
  );
  job.note({ snapshot: String(made.id) });
  job.detail('waiting for the snapshot');
  const image = await api.until(`snapshot ${made.id}`, async () => {
    const now = await api.call(`looking at snapshot ${made.id}`, () => api.image(made.id));
    if (!now || now.status === 'unavailable')
      throw new BuildError('hetzner', `snapshot ${made.id} failed`, 'publish again');
    return now.status === 'available' ? now : undefined;
  });
  await drop(api, job);
  return registered(image);
}

/** Whole snapshots of this project, newest first. */
export async function list(api: HetznerApi, region: string): Promise<CloudImage[]> {
  const [images, servers] = await api.call('listing snapshots', () =>
    Promise.all([api.images({ type: 'snapshot', label_selector: OURS, sort: 'created:desc' }), api.servers()]),
  );
  return images
    .filter(({ status }) => status === 'available')
    .map((image) => ({
      ...registered(image),
      region,
      image: image.labels[LABELS.image] ?? '',
      base: image.labels[LABELS.base] ?? '',
      digest: image.labels[LABELS.digest] ?? '',
      run: image.labels[LABELS.run] ?? '',
      created: new Date(image.created).toISOString(),
      proven: image.labels[LABELS.proven] === 'yes',
      channels: CHANNELS.filter((channel) => image.labels[channelLabel(channel)] === 'yes'),
      deprecated: timeOf(image.labels[DEPRECATED]),
      usedBy: servers
        // Our own probes are swept, they keep nothing.
        .filter(
          ({ image: from, labels }) =>
            from?.id === image.id && (labels[LABELS.temporary] !== 'yes' || labels[LABELS.launched] === 'yes'),
        )
        .map(({ name }) => `server ${name}`),
    }));
}

export function prove(api: HetznerApi, { snapshotId }: Registered): Promise<void> {
  return relabel(api, snapshotId, { [LABELS.proven]: 'yes' });
}

/** The new one gets the label before the old one loses it: in between both have it, never none. */
export async function setChannel(
  api: HetznerApi,
  base: string,
  channel: Channel,
  to: CloudImage | undefined,
): Promise<void> {
  const label = channelLabel(channel);
  if (to) await relabel(api, to.snapshotId, { [label]: 'yes' });
  const label_selector = `${OURS},${LABELS.base}==${base},${label}==yes`;
  const holders = await api.call(`reading channel ${channel}`, () => api.images({ type: 'snapshot', label_selector }));
  for (const { id } of holders) {
    if (String(id) !== to?.snapshotId) await relabel(api, String(id), { [label]: undefined });
  }
}

export function deprecate(api: HetznerApi, { snapshotId, deprecated }: CloudImage): Promise<void> {
  // The first time counts: from then on it is kept for a while.
  return relabel(api, snapshotId, { [DEPRECATED]: labelTime(new Date(deprecated ?? Date.now())) });
}

export function remove(api: HetznerApi, snapshotId: string): Promise<void> {
  return api.call(`deleting snapshot ${snapshotId}`, () => api.deleteImage(Number(snapshotId)));
}

/** Adds labels, or takes them away; reads the set right before, in each attempt, because writing replaces it whole. */
function relabel(api: HetznerApi, snapshotId: string, change: Record<string, string | undefined>): Promise<void> {
  const id = Number(snapshotId);
  return api.call(`labelling snapshot ${id}`, async () => {
    const image = await api.image(id);
    if (!image) throw new BuildError('hetzner', `snapshot ${id} is gone`, 'list what is published');
    const labels = changed(image.labels, change);
    if (labels) await api.putLabels('images', id, labels);
  });
}

/** Label values have no colons: 2026-11-25T22-34-50Z. */
function labelTime(time: Date): string {
  return `${time.toISOString().slice(0, 19).replaceAll(':', '-')}Z`;
}

function timeOf(label: string | undefined): string | undefined {
  const found = /^(\d{4}-\d\d-\d\d)T(\d\d)-(\d\d)-(\d\d)Z$/.exec(label ?? '');
  return found ? new Date(`${found[1]}T${found[2]}:${found[3]}:${found[4]}Z`).toISOString() : undefined;
}
