import { createHash, randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Actions } from './actions.ts';
import { type Image, LOCATIONS, SERVER_TYPES, type Server, type SshKey } from './answers.ts';
import { allocated, Disks } from './disks.ts';
import { invalid, notFound, Refusal, taken } from './errors.ts';
import { Firewalls } from './firewalls.ts';
import type { Machines } from './machines.ts';
import type { CreateServer } from './requests.ts';

/** One project of the cloud: its resources and the rules among them. */
export class Project {
  readonly servers = new Map<number, Server>();
  readonly images = new Map<number, Image>();
  readonly sshKeys = new Map<number, SshKey>();
  readonly actions: Actions;
  readonly firewalls: Firewalls;
  readonly disks: Disks;
  readonly #machines: Machines;
  #lastId = 1000;

  /** Milliseconds that each action takes beyond its work; bytes that a GB of a disk has. */
  constructor(machines: Machines, { actionMs, gigabyte }: { actionMs: number; gigabyte: number }) {
    this.#machines = machines;
    this.disks = new Disks(gigabyte);
    this.actions = new Actions(actionMs, () => ++this.#lastId);
    this.firewalls = new Firewalls(this.servers, this.actions, () => ++this.#lastId);
    for (const [name, flavor, version] of [
      ['ubuntu-24.04', 'ubuntu', '24.04'],
      ['debian-13', 'debian', '13'],
    ] as const) {
      const id = ++this.#lastId;
      const description = `${flavor} ${version}`;
      const more = { diskGb: 5, imageGb: null, labels: {}, created: new Date('2026-01-01'), createdFrom: null };
      this.images.set(id, {
        id,
        type: 'system',
        status: 'available',
        name,
        description,
        flavor,
        version,
        file: undefined,
        ...more,
      });
    }
  }

  one<T>(map: Map<number, T>, id: number, what: string): T {
    const found = map.get(id);
    if (!found) throw notFound(`${what} ${id}`);
    return found;
  }

  createSshKey(name: string, publicKey: string, labels: Record<string, string>): SshKey {
    const [kind = '', key = ''] = publicKey.trim().split(' ');
    const digest = createHash('md5').update(Buffer.from(key, 'base64')).digest('hex');
    const fingerprint = (digest.match(/../g) ?? []).join(':');
    for (const other of this.sshKeys.values()) {
      if (other.name === name) throw taken('name');
      if (other.fingerprint === fingerprint) throw taken('fingerprint');
    }
    const id = ++this.#lastId;
    const made = { id, name, publicKey: `${kind} ${key}`, fingerprint, labels, created: new Date() };
    this.sshKeys.set(id, made);
    return made;
  }

  async createServer(asked: CreateServer) {
    const named = <T extends { id: number; name: string | null }>(
      all: Iterable<T>,
      which: string | number,
      what: string,
    ): T => {
      const found = [...all].find(({ id, name }) => String(id) === String(which) || name === which);
      if (!found) throw invalid(`${what} ${which} not found`);
      return found;
    };
    const type = named(SERVER_TYPES, asked.server_type, 'server type');
    const location = named(LOCATIONS, asked.location ?? 'fsn1', 'location');
    const image = named(this.images.values(), asked.image, 'image');
    for (const key of asked.ssh_keys ?? []) named(this.sshKeys.values(), key, 'SSH key');
    if (type.architecture !== 'x86') throw invalid('image and server type have different architectures');
    if (image.status !== 'available') throw invalid('image is not available');
    if (image.diskGb > type.diskGb) throw invalid('the disk of the server type is smaller than the one of the image');
    if ([...this.servers.values()].some(({ name }) => name === asked.name)) throw taken('server name');
    const firewalls = this.firewalls.checked((asked.firewalls ?? []).map(({ firewall }) => firewall));
    const id = ++this.#lastId;
    const disk = image.file ? await this.disks.copy(image.file, type.diskGb) : await this.disks.fresh(type.diskGb);
    const server: Server = {
      id,
      name: asked.name,
      status: 'initializing',
      type,
      location,
      image,
      labels: asked.labels ?? {},
      created: new Date(),
      lockedBy: undefined,
      rescueKeys: undefined,
      userData: asked.user_data ?? '',
      address: asked.public_net?.enable_ipv4 === false ? null : await this.#machines.address(),
      network: asked.public_net?.enable_ipv6 === false ? null : `2001:db8:0:${id.toString(16)}::/64`,
      firewalls: [],
      disk,
      stop: undefined,
    };
    this.servers.set(id, server);
    const action = this.actions.start(
      'create_server',
      server,
      async () => {
        server.status = 'off';
      },
      // Whether a failed creation leaves a server behind isn't said: after an error of its own it does here.
      { failed: (code) => void (code === 'server_error' || this.#forget(server)) },
    );
    const starts = asked.start_after_create !== false;
    const next = starts
      ? [this.actions.start('start_server', server, () => this.#start(server), { after: action })]
      : [];
    for (const firewall of firewalls) this.firewalls.attach(firewall, server, next[0] ?? action);
    // Made up where no key is named, and mailed to the owner.
    const root_password = asked.ssh_keys?.length ? null : this.secret();
    return { server, action, next, root_password };
  }

  /** A password that an answer holds: no log of ours may show it. */
  readonly secrets: string[] = [];
  secret(): string {
    const made = `root-${randomBytes(9).toString('hex')}`;
    this.secrets.push(made);
    return made;
  }

  deleteServer(server: Server) {
    return this.actions.start('delete_server', server, async () => {
      server.status = 'deleting';
      await server.stop?.();
      this.#forget(server);
    });
  }

  #forget(server: Server): void {
    this.servers.delete(server.id);
    this.firewalls.leave(server);
    rmSync(server.disk, { force: true });
  }

  powerOn(server: Server) {
    return this.actions.start('start_server', server, () => this.#start(server));
  }

  async #start(server: Server): Promise<void> {
    if (server.status === 'running') return;
    server.status = 'starting';
    const keys = server.rescueKeys;
    // "Server will then boot into rescue system on next reboot": once.
    server.rescueKeys = undefined;
    server.stop = keys ? await this.#machines.rescue(server, keys) : await this.#machines.boot(server);
    server.status = 'running';
  }

  powerOff(server: Server) {
    return this.actions.start('stop_server', server, () => this.#off(server));
  }

  /** Systems that don't hear ACPI. */
  deaf = false;

  /** "The action status only reflects whether the action was sent to the server": the machine does it, later, or never. */
  shutdown(server: Server) {
    return this.actions.start('shutdown_server', server, async () => {
      if (server.status === 'running' && !this.deaf) this.actions.follow(sleep(50).then(() => this.#off(server)));
    });
  }

  async #off(server: Server): Promise<void> {
    if (server.status === 'off') return;
    server.status = 'stopping';
    await server.stop?.();
    server.stop = undefined;
    server.status = 'off';
  }

  enableRescue(server: Server, keys: number[]) {
    const publicKeys = keys.map((id) => this.one(this.sshKeys, id, 'SSH key').publicKey);
    return this.actions.start('enable_rescue', server, async () => {
      server.rescueKeys = publicKeys;
    });
  }

  disableRescue(server: Server) {
    return this.actions.start('disable_rescue', server, async () => {
      server.rescueKeys = undefined;
    });
  }

  createImage(server: Server, description: string | undefined, labels: Record<string, string>) {
    // The API only recommends it; what a running machine has on its disk is never what was verified.
    if (server.status !== 'off') throw new Refusal(409, 'server_not_stopped', 'the server has to be off');
    const image: Image = {
      id: ++this.#lastId,
      type: 'snapshot',
      status: 'creating',
      name: null,
      description: description ?? `snapshot of ${server.name}`,
      diskGb: server.type.diskGb,
      imageGb: null,
      labels,
      created: new Date(),
      createdFrom: { id: server.id, name: server.name },
      flavor: server.image.flavor,
      version: server.image.version,
      file: undefined,
    };
    const effect = async () => {
      image.file = await this.disks.copy(server.disk, image.diskGb);
      image.imageGb = allocated(image.file) / 1e9;
      image.status = 'available';
    };
    const action = this.actions.start('create_image', server, effect, { failed: () => this.images.delete(image.id) });
    action.resources.push({ id: image.id, type: 'image' });
    this.images.set(image.id, image);
    return { action, image };
  }

  deleteImage(image: Image): void {
    if (image.type !== 'snapshot') throw new Refusal(403, 'forbidden', 'a system image can not be deleted');
    this.images.delete(image.id);
    if (image.file) rmSync(image.file, { force: true });
  }

  async close(): Promise<void> {
    await this.actions.idle();
    for (const server of this.servers.values()) await server.stop?.();
    this.disks.close();
  }
}
