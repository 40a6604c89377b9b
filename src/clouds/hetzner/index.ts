import { inputError } from '../../process/errors.ts';
import type { Cloud, CloudOptions, OpenCloud } from '../cloud.ts';
import { doctor } from './doctor.ts';
import { orphans, removeOrphan } from './orphans.ts';
import { price } from './prices.ts';
import { boot } from './probe.ts';
import { checkRegion, DEFAULT_REGION, openApi } from './settings.ts';
import { deprecate, list, prove, register, remove, setChannel } from './snapshots.ts';
import { upload } from './upload.ts';

/**
 * Hetzner Cloud. Snapshots belong to the project and start in every location, so that there is one region: the location
 * in which the disk is written.
 */
export const cloud: OpenCloud = async ({ regions }: CloudOptions): Promise<Cloud> => {
  const [region = DEFAULT_REGION, ...more] = regions;
  if (more.length > 0) {
    throw inputError('hetzner', 'a Hetzner snapshot starts in every location', `name one: --region ${region}`);
  }
  checkRegion(region);
  const api = openApi(process.env);
  return {
    name: 'hetzner',
    proof: 'full',
    regions: [region],
    doctor: () => doctor(api, region),
    price: (image, bytes) => price(api, region, image, bytes),
    upload: (job) => upload(api, job),
    register: (job) => register(api, job),
    copy: async () => {
      throw inputError('hetzner', 'a Hetzner snapshot starts in every location', 'there is nothing to copy');
    },
    boot: (job, registered, inputs) => boot(api, job, registered, inputs),
    prove: (_, registered) => prove(api, registered),
    list: (at) => list(api, at),
    setChannel: (_, base, channel, to) => setChannel(api, base, channel, to),
    deprecate: (image) => deprecate(api, image),
    remove: ({ snapshotId }) => remove(api, snapshotId),
    orphans: (at) => orphans(api, at),
    removeOrphan: (orphan) => removeOrphan(api, orphan),
    close: () => {},
  };
};
