import { type Cloud, type CloudOptions, LABELS, type OpenCloud } from '../cloud.ts';
import { setChannel } from './channels.ts';
import { doctor } from './doctor.ts';
import { copy, deprecate, deregister, label, register } from './images.ts';
import { list } from './list.ts';
import { orphans, removeOrphan } from './orphans.ts';
import { price } from './prices.ts';
import { boot } from './probe.ts';
import { openSession } from './session.ts';
import { TIMES, type Times } from './times.ts';
import { upload } from './upload.ts';

/** AWS: snapshots by EBS' direct API, AMIs, and an SSM parameter for each channel (docs/clouds/aws.md). */
export const cloud: OpenCloud = (options) => openAws(options, TIMES);

/**
 * The same with waits of one's own.
 * @throws BuildError (input) without a region or credentials.
 */
export async function openAws({ regions }: CloudOptions, times: Times): Promise<Cloud> {
  const session = await openSession(regions, times);
  return {
    name: 'aws',
    proof: 'full',
    incremental: true,
    regions: session.regions,
    doctor: () => doctor(session),
    price: async (_image, bytes) => price(bytes, session.regions),
    upload: (job) => upload(session, job),
    register: (job) => register(session, job),
    copy: (job, from) => copy(session, job, from),
    boot: (job, registered, inputs) => boot(session, job, registered, inputs),
    prove: (region, { imageId }) => label(session, region, imageId, { [LABELS.proven]: 'yes' }),
    list: (region) => list(session, region),
    setChannel: (region, base, channel, to) => setChannel(session, region, base, channel, to),
    deprecate: (image) => deprecate(session, image),
    remove: ({ region, imageId, snapshotId }) => deregister(session, region, imageId, snapshotId),
    orphans: (region) => orphans(session, region),
    removeOrphan: (orphan) => removeOrphan(session, orphan),
    close: session.close,
  };
}
