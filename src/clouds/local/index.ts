/** The local cloud: a folder as image store, QEMU as machines. The same way as any other cloud, on this computer. */
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { accelerated } from '../../doctor/doctor.ts';
import { bootMachine, reserveMachine } from '../../launch/local/machine.ts';
import { sweep } from '../../launch/local/owner.ts';
import { listRecords } from '../../launch/records.ts';
import { BuildError, inputError } from '../../process/errors.ts';
import { run } from '../../process/run.ts';
import { BLOCK_BYTES } from '../../seal/digest.ts';
import type {
  Cloud,
  CloudImage,
  CloudOptions,
  Job,
  OpenCloud,
  Orphan,
  Probe,
  ProbeInputs,
  Registered,
} from '../cloud.ts';
import { CHANNELS, type UploadJob } from '../cloud.ts';
import { type Labels, Store } from './store.ts';

const REGION = 'local';

class LocalCloud implements Cloud {
  readonly name = 'local';
  readonly proof = 'ci';
  readonly regions = [REGION] as const;
  readonly #store = new Store();
  readonly lockDir = this.#store.dir;

  async doctor() {
    return [this.#store.room(), (await accelerated()).check];
  }

  async price() {
    return [];
  }

  /** Compressed as the sealed disk is; then read back, so that the store holds the very bytes. */
  async upload(job: UploadJob): Promise<{ bytesSent: number }> {
    const into = this.#store.incoming(job.run);
    const qcow2 = join(into, 'disk.qcow2');
    if (job.notes.written === 'yes' && existsSync(qcow2)) return { bytesSent: 0 };
    if (existsSync(this.#store.imageDir(job.image.id))) {
      this.#same(job);
      return { bytesSent: 0 };
    }
    rmSync(into, { recursive: true, force: true });
    job.note({ incoming: into });
    mkdirSync(into, { recursive: true, mode: 0o700 });
    const disk = await job.disk();
    const bytes = Object.keys(disk.blocks).length * BLOCK_BYTES;
    job.expect(bytes);
    const step = { step: 'store', hint: `is there room in ${this.#store.dir}? CLAWDY_STORE names another place` };
    const options = ['-c', '-o', 'compression_type=zstd', '-m', '2'];
    await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', ...options, disk.path, qcow2], step);
    job.sent(bytes);
    job.detail('reading it back');
    // 1: they differ. The raw disk has just been checked against the digest.
    const { exitCode } = await run('qemu-img', ['compare', '-f', 'raw', '-F', 'qcow2', disk.path, qcow2], {
      ...step,
      ok: [0, 1],
    });
    if (exitCode)
      throw new BuildError(
        'store',
        `${qcow2} doesn't read back as what was written`,
        'is the disk sound? publish again',
      );
    job.note({ written: 'yes' });
    return { bytesSent: bytes };
  }

  async register(job: Job): Promise<Registered> {
    const { id, base, rawSha256 } = job.image;
    const created = new Date().toISOString();
    const incoming = this.#store.incoming(job.run);
    if (existsSync(incoming)) {
      const labels: Labels = {
        ...{ schema: 1, image: id, base, rawSha256, run: job.run, created },
        ...{ proven: false, deprecated: null },
      };
      this.#store.label(incoming, labels);
      this.#store.admit(job.run, id);
    }
    return { imageId: id, snapshotId: this.#same(job).rawSha256 };
  }

  /** @throws BuildError (input) where the store has other bytes of that name. */
  #same({ image }: Job): Labels {
    const labels = this.#store.read(image.id);
    if (labels.rawSha256 === image.rawSha256) return labels;
    throw inputError('store', `${this.#store.imageDir(image.id)} is another disk`, 'move it away, then publish again');
  }

  async copy(): Promise<Registered> {
    throw inputError('publish', 'the local cloud has one region', 'leave out --region');
  }

  async boot(job: Job, { imageId }: Registered, { userData }: ProbeInputs): Promise<Probe> {
    sweep();
    const { id, dir } = reserveMachine(false);
    job.note({ probe: id });
    const image = this.#store.disk(imageId);
    try {
      const machine = await bootMachine({ id, dir, image, userData, keepDir: false });
      return {
        instanceId: id,
        transcript: async () => {
          if (!machine.guarded.alive())
            throw new BuildError('boot', 'QEMU ended', 'npm run doctor tries what it needs');
          return machine.console.text();
        },
        remove: async () => {
          machine.qmp.close();
          await machine.guarded.end();
        },
      };
    } catch (error) {
      rmSync(dir, { recursive: true, force: true });
      throw error;
    }
  }

  async prove(_region: string, { imageId }: Registered): Promise<void> {
    this.#relabel(imageId, { proven: true });
  }

  async list(): Promise<CloudImage[]> {
    const { records, faults } = listRecords();
    // It may be of an instance of any image.
    const unknown = faults.length ? ["an instance whose record can't be read"] : [];
    return this.#store.list().map((labels) => ({
      region: REGION,
      imageId: labels.image,
      snapshotId: labels.rawSha256,
      image: labels.image,
      base: labels.base,
      digest: labels.rawSha256.slice(0, 32),
      run: labels.run,
      created: labels.created,
      proven: labels.proven,
      channels: CHANNELS.filter((channel) => this.#store.channel(labels.base, channel) === labels.image),
      deprecated: labels.deprecated ?? undefined,
      usedBy: [
        ...records.filter(({ image_id }) => image_id === labels.image).map(({ instance_id }) => instance_id),
        ...unknown,
      ],
    }));
  }

  async setChannel(_region: string, base: string, channel: (typeof CHANNELS)[number], to: CloudImage | undefined) {
    this.#store.setChannel(base, channel, to?.imageId);
  }

  async deprecate({ imageId }: CloudImage): Promise<void> {
    this.#relabel(imageId, { deprecated: new Date().toISOString() });
  }

  async remove({ imageId }: CloudImage): Promise<void> {
    this.#store.remove(imageId);
  }

  async orphans(): Promise<Orphan[]> {
    // Probes die with the process that started them; their folders go with the next boot or launch.
    return this.#store.leftovers().map(({ path, ...more }) => ({ region: REGION, kind: 'folder', id: path, ...more }));
  }

  async removeOrphan({ id }: Orphan): Promise<void> {
    rmSync(id, { recursive: true, force: true });
  }

  close(): void {}

  #relabel(id: string, changes: Partial<Labels>): void {
    this.#store.label(this.#store.imageDir(id), { ...this.#store.read(id), ...changes });
  }
}

export const cloud: OpenCloud = async ({ regions }: CloudOptions) => {
  const [other] = regions.filter((region) => region !== REGION);
  if (other) throw inputError('cloud', `the local cloud has no region ${other}`, 'leave out --region');
  return new LocalCloud();
};
