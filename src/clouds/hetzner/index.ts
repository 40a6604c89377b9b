import { inputError } from '../../process/errors.ts';
import type { Cloud, CloudOptions, OpenCloud } from '../cloud.ts';
import { HetznerApi } from './api.ts';
import { HetznerClient } from './client.ts';
import { doctor } from './doctor.ts';
import { orphans, removeOrphan } from './orphans.ts';
import { price } from './prices.ts';
import { boot } from './probe.ts';
import { DEFAULT_REGION, settings } from './settings.ts';
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
  if (!/^[a-z]{2,4}\d{0,2}$/.test(region)) {
    throw inputError('hetzner', `${JSON.stringify(region)} is no location of Hetzner`, 'such as fsn1, nbg1, hel1');
  }
  const { pollMs, limitMs, ...access } = settings(process.env);
  const api = new HetznerApi(new HetznerClient(access), { pollMs, limitMs });
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
