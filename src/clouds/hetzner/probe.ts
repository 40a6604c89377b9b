import { AGENT, PATHS } from '../../contract/box.ts';
import { findSshPort } from '../../launch/ssh-port.ts';
import { BuildError } from '../../process/errors.ts';
import type { Job, Probe, ProbeInputs, Registered } from '../cloud.ts';
import type { HetznerApi } from './api.ts';
import { checkUserData, dropServers, makeServer } from './servers.ts';
import { Ssh } from './ssh.ts';

/** Prints the box's console lines; part of the image, open to the only account that has a shell. */
const TELL = `${PATHS.lib}/boot/tell`;
const TELL_LIMIT_MS = 30_000;
/** Milliseconds between two looks whether the server is still there: each costs one of the hour's 3,600 calls. */
const ALIVE_MS = 15_000;

/**
 * Boots the snapshot on a server of its own. No SSH key is given to Hetzner: the key is in the user-data, and a box that
 * has user-data takes none from elsewhere. A server of an interrupted run goes first, because it has other user-data.
 */
export async function boot(api: HetznerApi, job: Job, snapshot: Registered, inputs: ProbeInputs): Promise<Probe> {
  const { userData } = inputs;
  checkUserData(userData);
  await dropServers(api, job, 'probe');
  const image = await api.call('looking at the snapshot', () => api.image(Number(snapshot.imageId)));
  if (!image) throw new BuildError('hetzner', `snapshot ${snapshot.imageId} is gone`, 'publish again');
  const wanted = { role: 'probe', image: snapshot.imageId, diskGb: image.disk_size, start: true } as const;
  const server = await makeServer(api, job, { ...wanted, more: { user_data: userData } });
  const address = server.publicNet.ipv4.ip;
  if (!address)
    throw new BuildError('hetzner', `server ${server.id} has no public IPv4 address`, 'has the project used them up?');
  return new HetznerProbe(api, job, server.id, address, inputs);
}

class HetznerProbe implements Probe {
  readonly instanceId: string;
  readonly #api: HetznerApi;
  readonly #job: Job;
  readonly #id: number;
  readonly #address: string;
  readonly #inputs: ProbeInputs;
  #ssh: Ssh | undefined;
  #seenAlive = Date.now();

  constructor(api: HetznerApi, job: Job, id: number, address: string, inputs: ProbeInputs) {
    this.#api = api;
    this.#job = job;
    this.#id = id;
    this.#address = address;
    this.#inputs = inputs;
    // cloud-init's data source Hetzner takes it from the metadata service, which names the server's ID.
    this.instanceId = String(id);
  }

  async transcript(): Promise<string> {
    await this.#checkAlive();
    if (this.#ssh) {
      const told = await this.#ssh.ask(TELL, TELL_LIMIT_MS);
      if (told !== undefined) return told;
      // It may have restarted sshd, or be busy: the port is looked for again, and known_hosts keeps the key.
      this.#ssh = undefined;
    }
    const port = await findSshPort(this.#address);
    if (port === undefined) return '';
    const { sshKey: key, work } = this.#inputs;
    const ssh = new Ssh({ address: this.#address, port, user: AGENT.name, key, work });
    const told = await ssh.ask(TELL, TELL_LIMIT_MS);
    if (told !== undefined) this.#ssh = ssh;
    return told ?? '';
  }

  hostKey(): string | undefined {
    return this.#ssh?.hostKey();
  }

  async remove(): Promise<void> {
    await dropServers(this.#api, this.#job, 'probe');
  }

  async #checkAlive(): Promise<void> {
    if (Date.now() - this.#seenAlive < ALIVE_MS) return;
    const server = await this.#api.call(`looking at server ${this.#id}`, () => this.#api.server(this.#id));
    if (!server) throw new BuildError('hetzner', `server ${this.#id} is gone`, 'somebody deleted it; publish again');
    if (server.status === 'off')
      throw new BuildError(
        'hetzner',
        `server ${this.#id} switched itself off`,
        'look at its console in the Hetzner console',
      );
    this.#seenAlive = Date.now();
  }
}
