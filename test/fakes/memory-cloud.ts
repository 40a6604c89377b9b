import type {
  Channel,
  Cloud,
  CloudImage,
  Job,
  Orphan,
  Price,
  ProbeInputs,
  Published,
  Registered,
  UploadJob,
  Volume,
} from '../../src/clouds/cloud.ts';
import { OWNER } from '../../src/clouds/cloud.ts';
import { BuildError } from '../../src/process/errors.ts';
import { withBundle } from './recorded.ts';

/** A cloud in memory, for tests of what is written over clouds. Its calls can be made to fail by name. */
export class MemoryCloud implements Cloud {
  readonly name = 'memory';
  readonly proof = 'full';
  readonly regions: readonly [string, ...string[]];
  readonly images: CloudImage[] = [];
  readonly things: Orphan[] = [];
  /** `region primitive`, in order. */
  readonly calls: string[] = [];
  /** What the machines say, with IMAGE where the name of the booted image goes. */
  console = 'clawdy: image IMAGE, instance i\nclawdy: live ok\n';
  /** Whoever answers was given another token than the machine that we started. */
  forged = false;
  /** Its upload reads the disk, as real ones do. */
  opensDisk = false;
  /** What answered by SSH. */
  shownHostKey = `ssh-ed25519 ${'A'.repeat(68)}`;
  /** Calls that fail, and with what. */
  readonly failing = new Map<string, Error>();

  constructor(...regions: [string, ...string[]]) {
    this.regions = regions;
  }

  #call(region: string, name: string): void {
    this.calls.push(`${region} ${name}`);
    this.#fail(region, name);
  }

  #fail(region: string, name: string): void {
    const error = this.failing.get(`${region} ${name}`) ?? this.failing.get(name);
    if (error) throw error;
  }

  async doctor() {
    return [];
  }

  async price(_image: Published, _bytes: Volume): Promise<Price[]> {
    return [];
  }

  async upload(job: UploadJob) {
    job.note({ snapshot: `snap-${job.run}` });
    this.things.push({ region: job.region, kind: 'snapshot', id: `snap-${job.run}`, run: job.run });
    if (this.opensDisk) await job.disk();
    job.expect(10);
    job.sent(4);
    this.#call(job.region, 'upload');
    job.sent(6);
    return { bytesSent: 10 };
  }

  async register(job: Job): Promise<Registered> {
    this.#call(job.region, 'register');
    return this.#make(job);
  }

  async copy(job: Job, from: Registered & { region: string }): Promise<Registered> {
    this.#call(job.region, `copy ${from.imageId}`);
    return this.#make(job);
  }

  #make({ region, run, image }: Job): Registered {
    const ids = { imageId: `${image.id}-in-${region}`, snapshotId: `snap-${run}` };
    this.#drop(ids.snapshotId);
    this.images.push({
      ...{ ...ids, region, run, image: image.id, base: image.base, digest: image.rawSha256.slice(0, 32) },
      ...{ created: image.created, proven: false, channels: [], usedBy: [] },
    });
    return ids;
  }

  async boot(job: Job, { imageId }: Registered, { userData }: ProbeInputs) {
    this.#call(job.region, 'boot');
    const image = this.#at(job.region, imageId);
    const left = this.things.find(({ run }) => run === job.run);
    if (left) throw new BuildError(OWNER, `${left.id} of an interrupted run is still there`, '');
    const id = `i-${this.things.length}`;
    this.things.push({ region: job.region, kind: 'instance', id, run: job.run });
    const said = this.console.replaceAll('IMAGE', image.image).replace('SEALED', 'clawdy: live ok');
    // SEALED on the console: it gets as far as its bundle.
    const cut = this.console.includes('SEALED') ? 'clawdy: live ok' : '';
    const hostKey = `ssh-ed25519 ${'A'.repeat(68)}`;
    // In user-data the token stands within JSON within JSON.
    const heard = this.forged ? userData.replace(/token\\":\\"[\w-]+/, `token\\":\\"${'x'.repeat(43)}`) : userData;
    return {
      instanceId: id,
      transcript: async () => (await withBundle(said, { instanceId: id, userData: heard, hostKey })).replace(cut, ''),
      hostKey: () => this.shownHostKey,
      remove: async () => this.#drop(id),
    };
  }

  async prove(region: string, { imageId }: Registered) {
    this.#call(region, 'prove');
    this.#at(region, imageId).proven = true;
  }

  async list(region: string) {
    return this.images.filter((image) => image.region === region).map((image) => ({ ...image }));
  }

  async setChannel(region: string, base: string, channel: Channel, to: CloudImage | undefined) {
    this.#call(region, `channel ${channel}`);
    const images = this.images.filter((one) => one.region === region && one.base === base);
    for (const image of images)
      if (image.imageId === to?.imageId && !image.channels.includes(channel)) image.channels.push(channel);
    // As where images are labelled: the old one loses the channel after the new one has it.
    this.#fail(region, `unlabel ${channel}`);
    for (const image of images)
      if (image.imageId !== to?.imageId) image.channels = image.channels.filter((one) => one !== channel);
  }

  async deprecate({ region, imageId }: CloudImage) {
    this.#call(region, 'deprecate');
    this.#at(region, imageId).deprecated = new Date().toISOString();
  }

  async remove({ region, imageId }: CloudImage) {
    this.#call(region, 'remove');
    this.images.splice(this.images.indexOf(this.#at(region, imageId)), 1);
  }

  async orphans(region: string) {
    return this.things.filter((thing) => thing.region === region);
  }

  async removeOrphan({ region, id }: Orphan) {
    this.#call(region, 'sweep');
    this.#drop(id);
  }

  close() {}

  #at(region: string, imageId: string): CloudImage {
    const image = this.images.find((one) => one.region === region && one.imageId === imageId);
    if (!image) throw new BuildError(OWNER, `${imageId} isn't in ${region}`, '');
    return image;
  }

  #drop(id: string): void {
    const index = this.things.findIndex((thing) => thing.id === id);
    if (index >= 0) this.things.splice(index, 1);
  }
}
