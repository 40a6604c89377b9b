import { BuildError, inputError } from '../../process/errors.ts';
import { LABELS, OWNER } from '../cloud.ts';
import {
  type LaunchJob,
  launchLabels,
  type Machine,
  type MachineState,
  type Machines,
  type Opening,
  type OpenMachines,
  type Start,
} from '../machines.ts';
import type { HetznerApi } from './api.ts';
import { closedFirewall, dropFirewall, firewallsOf, letIn } from './firewalls.ts';
import { changed, LAUNCHED } from './labels.ts';
import type { Firewall, HetznerMachine } from './schemas.ts';
import { checkUserData, createServer, placesFor } from './servers.ts';
import { checkRegion, DEFAULT_REGION, openApi } from './settings.ts';

/** Milliseconds. */
export interface Limits {
  /** Until a machine that was asked to switch itself off is cut off. systemd gives services 90 s to end. */
  shutdownMs: number;
  /** Until Hetzner has put a server behind its firewall, or sees that a deleted one isn't behind it any more: seconds. */
  firewallMs: number;
}

const LIMITS: Limits = { shutdownMs: 2 * 60_000, firewallMs: 3 * 60_000 };

/** On a firewall whose server is about to be deleted: that server's ID, by which it is found when the server is gone. */
const SERVER = 'clawdy-server';

/** What Hetzner calls a host name: https://docs.hetzner.cloud/reference/cloud#servers-create-a-server */
const HOST_NAME = /^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/i;

export const machines: OpenMachines = async (region) =>
  new HetznerMachines(openApi(process.env), checkRegion(region ?? DEFAULT_REGION));

/**
 * Launched servers. They belong to the project, so that those of every location are listed, whatever region is asked for.
 * Server and firewall are found by the label of their run, never by a name. Hetzner shows no serial console by its API.
 */
export class HetznerMachines implements Machines {
  readonly name = 'hetzner';
  readonly region: string;
  readonly #api: HetznerApi;
  readonly #limits: Limits;

  constructor(api: HetznerApi, region: string, limits = LIMITS) {
    this.#api = api;
    this.region = region;
    this.#limits = limits;
  }

  async start(job: LaunchJob, start: Start): Promise<Machine> {
    checkUserData(start.userData);
    checkRun(job.run);
    const api = this.#api;
    const { imageId } = start.image;
    const snapshot = await api.call('looking at the snapshot', () => api.image(Number(imageId)));
    if (!snapshot) throw new BuildError('hetzner', `snapshot ${imageId} is gone`, 'launch another image');
    // Every x86 type has the 2 GB that OpenClaw wants.
    const places = await placesFor(api, job.region, snapshot.disk_size, start.size);
    const labels = launchLabels(job, start);
    job.detail('creating a closed firewall');
    const firewall = await closedFirewall(api, job.run, labels);
    const request = {
      name: await this.#freeName(job, start),
      ...{ image: imageId, labels, firewalls: [{ firewall: firewall.id }], user_data: start.userData },
      start_after_create: true,
      public_net: { enable_ipv4: true, enable_ipv6: true },
    };
    const made = async () => (await api.machines(ofRun(job.run)))[0]?.id;
    const id = await createServer(api, request, places, made, job.detail);
    job.detail('waiting until it runs behind its firewall');
    await this.#switchedOn(id);
    const behind = async () => {
      const now = await this.#look(id);
      const applied = now.public_net.firewalls.some((has) => has.id === firewall.id && has.status === 'applied');
      return applied ? shown(now) : undefined;
    };
    const what = `waiting until server ${id} is behind firewall ${firewall.id}`;
    return api.until(what, behind, this.#limits.firewallMs);
  }

  async machine(_region: string, instanceId: string): Promise<Machine | undefined> {
    const found = await this.#find(idOf(instanceId));
    return found && isLaunched(found) ? shown(found) : undefined;
  }

  async list(): Promise<Machine[]> {
    const found = await this.#api.call('listing servers', () => this.#api.machines(LAUNCHED));
    return found.map(shown);
  }

  async open(_region: string, instanceId: string, openings: Opening[]): Promise<void> {
    await letIn(this.#api, (await this.#withFirewall(instanceId)).firewall.id, openings);
  }

  async keep(_region: string, instanceId: string): Promise<void> {
    const { machine, firewall } = await this.#withFirewall(instanceId);
    // Once the server is kept, no sweep takes the firewall either.
    await this.#relabel('servers', machine.id, { [LABELS.temporary]: undefined });
    await this.#relabel('firewalls', firewall.id, { [LABELS.temporary]: undefined });
  }

  async power(_region: string, instanceId: string, on: boolean): Promise<Machine> {
    const { id } = await this.#look(idOf(instanceId));
    return shown(await (on ? this.#switchedOn(id) : this.#switchedOff(id)));
  }

  async destroy(_region: string, instanceId: string): Promise<void> {
    const api = this.#api;
    const id = idOf(instanceId);
    const machine = await this.#find(id);
    if (machine && !isLaunched(machine))
      throw new BuildError('hetzner', `server ${id} hasn't our labels, and is left alone`, 'delete it in the console');
    if (machine) {
      // From here on its sweep finishes it too.
      await this.#relabel('servers', id, { [LABELS.temporary]: 'yes' });
      for (const firewall of await firewallsOf(api, machine.labels[LABELS.run] ?? ''))
        await this.#relabel('firewalls', firewall.id, { [LABELS.temporary]: 'yes', [SERVER]: String(id) });
      await this.#delete(id);
    }
    const left = await api.call(`looking for the firewall of server ${id}`, () =>
      api.firewalls(`${LAUNCHED},${SERVER}==${id}`),
    );
    for (const firewall of left) await dropFirewall(api, firewall.id, this.#limits.firewallMs);
  }

  async sweep(_region: string, run: string): Promise<void> {
    checkRun(run);
    const api = this.#api;
    const found = await api.call(`looking for servers of ${run}`, () => api.machines(ofRun(run)));
    const passing = found.filter(isTemporary);
    for (const { id } of passing) await this.#delete(id);
    // Whatever its own labels say, a firewall is needed as long as its server is, and no longer.
    if (passing.length < found.length) return;
    for (const { id } of await firewallsOf(api, run)) await dropFirewall(api, id, this.#limits.firewallMs);
  }

  close(): void {}

  /** The name for people, where nothing has it: names are unique in a project. */
  async #freeName({ run }: LaunchJob, { name }: Start): Promise<string> {
    const inPlace = `clawdy-${run}`;
    if (!HOST_NAME.test(name)) return inPlace;
    const taken = await this.#api.call(`looking for a server ${name}`, () => this.#api.servers({ name }));
    return taken.length > 0 ? inPlace : name;
  }

  #find(id: number): Promise<HetznerMachine | undefined> {
    return this.#api.call(`looking at server ${id}`, () => this.#api.machine(id));
  }

  async #look(id: number): Promise<HetznerMachine> {
    const found = await this.#find(id);
    if (found && isLaunched(found)) return found;
    throw new BuildError('hetzner', `server ${id} is gone, or none that was launched`, 'look at what is there');
  }

  async #withFirewall(instanceId: string): Promise<{ machine: HetznerMachine; firewall: { id: number } }> {
    const machine = await this.#look(idOf(instanceId));
    const firewall = ownFirewall(machine, await firewallsOf(this.#api, machine.labels[LABELS.run] ?? ''));
    return { machine, firewall };
  }

  async #relabel(of: 'servers' | 'firewalls', id: number, change: Record<string, string | undefined>): Promise<void> {
    const api = this.#api;
    const what = `labelling ${of.slice(0, -1)} ${id}`;
    await api.call(what, async () => {
      const now = await (of === 'servers' ? api.machine(id) : api.firewall(id));
      // Who deletes it finds that out by himself.
      const labels = now && changed(now.labels, change);
      if (labels) await api.putLabels(of, id, labels);
    });
  }

  #switchedOn(id: number): Promise<HetznerMachine> {
    const api = this.#api;
    return api.until(`waiting until server ${id} runs`, async () => {
      const now = await this.#look(id);
      if (now.locked || !['off', 'running'].includes(now.status)) return undefined;
      if (now.status === 'running') return now;
      await api.call(`starting server ${id}`, async () => api.wait(`starting server ${id}`, await api.powerOn(id)));
      return undefined;
    });
  }

  /** By its own system; by force where that doesn't do it in time. */
  async #switchedOff(id: number): Promise<HetznerMachine> {
    const api = this.#api;
    const what = `switching server ${id} off`;
    const isOff = async () => {
      const now = await this.#look(id);
      return now.status === 'off' && !now.locked ? now : undefined;
    };
    const off = await isOff();
    if (off) return off;
    await api.call(what, async () => api.wait(what, await api.shutdown(id)));
    const cutAt = Date.now() + this.#limits.shutdownMs;
    const itself = await api.until(what, async () => (await isOff()) ?? (Date.now() > cutAt ? 'never' : undefined));
    if (itself !== 'never') return itself;
    await api.call(what, async () => api.wait(what, await api.powerOff(id)));
    return api.until(what, isOff);
  }

  async #delete(id: number): Promise<void> {
    await this.#api.call(`deleting server ${id}`, () => this.#api.deleteServer(id));
    await this.#api.until(
      `waiting until server ${id} is gone`,
      async () => (await this.#find(id)) === undefined || undefined,
    );
  }
}

const ofRun = (run: string) => `${LAUNCHED},${LABELS.run}==${run}`;
const isTemporary = ({ labels }: HetznerMachine) => labels[LABELS.temporary] === 'yes';
const isLaunched = ({ labels }: HetznerMachine) => labels[LABELS.launched] === 'yes' && labels[LABELS.owner] === OWNER;

/** The one of the run's firewalls that the machine is behind. @throws BuildError where it is behind none. */
function ownFirewall({ id, public_net }: HetznerMachine, ofItsRun: Firewall[]): { id: number } {
  const own = public_net.firewalls.find((has) => ofItsRun.some((firewall) => firewall.id === has.id));
  if (own) return own;
  throw new BuildError(
    'hetzner',
    `server ${id} isn't behind the firewall that was made for it`,
    'somebody took it away, and anybody reaches the server: apply it again in the console, or destroy the server',
  );
}

/** https://docs.hetzner.cloud/reference/cloud#servers: what isn't here is on its way to running, or somebody's to end. */
const STATES: Record<string, MachineState> = {
  running: 'running',
  stopping: 'running',
  off: 'stopped',
  deleting: 'gone',
};

function shown({ id, labels, status, location, created, public_net }: HetznerMachine): Machine {
  return {
    region: location.name,
    instanceId: String(id),
    // Of its /64, a server takes the first address.
    address: public_net.ipv4.ip ?? public_net.ipv6.ip?.replace(/::\/64$/, '::1'),
    state: STATES[status] ?? 'starting',
    image: labels[LABELS.image] ?? '',
    run: labels[LABELS.run] ?? '',
    created: new Date(created).toISOString(),
    temporary: labels[LABELS.temporary] === 'yes',
  };
}

/** @throws BuildError (input) for the ID of another cloud: its server would be taken for gone. */
function idOf(instanceId: string): number {
  if (/^[1-9]\d{0,14}$/.test(instanceId)) return Number(instanceId);
  throw inputError('hetzner', `${JSON.stringify(instanceId)} is no ID of a server at Hetzner`, 'such as 42');
}

/** @throws BuildError (input) for what would select other runs' resources, or none's. */
function checkRun(run: string): void {
  if (!/^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/.test(run))
    throw inputError('hetzner', `${JSON.stringify(run)} is no name of a run`, 'lower-case letters, digits, dashes');
}
