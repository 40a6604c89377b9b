import { OWNER } from '../../src/clouds/cloud.ts';
import type { Machine, Machines, Opening, Start } from '../../src/clouds/machines.ts';
import { BuildError } from '../../src/process/errors.ts';
import { withBundle } from './recorded.ts';

const pem = (label: string) => `-----BEGIN ${label}-----\nQQ==\n-----END ${label}-----\n`;
export const GATE = { certificate: pem('CERTIFICATE'), certificateRequest: pem('CERTIFICATE REQUEST') };

/** Whoever was killed does nothing any more, not even clear up. */
export class Killed extends BuildError {
  constructor(after: string) {
    super('killed', after, '');
  }
}

/** Counts what a program does to the world, and kills it after the effect of one call, before its answer. */
export class World {
  readonly calls: string[] = [];
  /** Index of the call after which nothing goes any more; undefined: all goes. */
  killAt: number | undefined;
  #dead = false;

  async call<T>(name: string, effect: () => T | Promise<T>): Promise<T> {
    if (this.#dead) throw new Killed(name);
    const index = this.calls.push(name) - 1;
    const result = await effect();
    if (index === this.killAt) {
      this.#dead = true;
      throw new Killed(name);
    }
    return result;
  }

  /** A new process begins. */
  revive(killAt?: number): void {
    this.#dead = false;
    this.calls.length = 0;
    this.killAt = killAt;
  }
}

/** Machines in memory, with all that belongs to them. */
export class MemoryMachines implements Machines {
  readonly name = 'aws';
  readonly region = 'here';
  readonly machines: (Machine & { userData: string; openings: Opening[] })[] = [];
  /** Runs whose firewall is there. */
  readonly firewalls = new Set<string>();
  /** What each box says of its image, and whether its bundle is by our token. */
  imageId = '';
  forged = false;
  hostKey = `ssh-ed25519 ${'A'.repeat(68)}`;
  readonly #world: World;
  #last = 0;

  constructor(world: World) {
    this.#world = world;
  }

  start({ run, region }: { run: string; region: string }, { image, userData }: Start): Promise<Machine> {
    return this.#world
      .call('firewall', () => void this.firewalls.add(run))
      .then(() =>
        this.#world.call('start', () => {
          const number = ++this.#last;
          const machine = {
            ...{ region, instanceId: `i-${number}`, address: `192.0.2.${number}`, state: 'running' as const },
            ...{ image: image.image, run, created: new Date().toISOString(), temporary: true, userData, openings: [] },
          };
          this.machines.push(machine);
          return machine;
        }),
      );
  }

  async machine(_: string, id: string) {
    return this.machines.find(({ instanceId }) => instanceId === id);
  }

  async list() {
    return this.machines;
  }

  console(_: string, id: string): Promise<string> {
    return this.#world.call('console', () => {
      const { userData } = this.#of(id);
      const heard = this.forged ? userData.replace(/token\\":\\"[\w-]+/, `token\\":\\"${'x'.repeat(43)}`) : userData;
      const said = `clawdy: image ${this.imageId}, instance ${id}\nclawdy: live ok\n`;
      return withBundle(said, { instanceId: id, userData: heard, hostKey: this.hostKey, gate: GATE });
    });
  }

  open(_: string, id: string, openings: Opening[]): Promise<void> {
    return this.#world.call('open', () => {
      this.#of(id).openings = openings;
    });
  }

  keep(_: string, id: string): Promise<void> {
    return this.#world.call('keep', () => {
      this.#of(id).temporary = false;
    });
  }

  power(_: string, id: string, on: boolean): Promise<Machine> {
    return this.#world.call('power', () => Object.assign(this.#of(id), { state: on ? 'running' : 'stopped' }));
  }

  destroy(_: string, id: string): Promise<void> {
    return this.#world.call('destroy', () => this.#drop(({ instanceId }) => instanceId === id));
  }

  sweep(_: string, run: string): Promise<void> {
    return this.#world.call('sweep', () => {
      this.#drop((machine) => machine.run === run && machine.temporary);
      if (!this.machines.some((machine) => machine.run === run)) this.firewalls.delete(run);
    });
  }

  close() {}

  #of(id: string) {
    const machine = this.machines.find(({ instanceId }) => instanceId === id);
    if (!machine) throw new BuildError(OWNER, `${id} is gone`, '');
    return machine;
  }

  #drop(which: (machine: Machine) => boolean): void {
    for (const machine of this.machines.filter(which)) {
      this.machines.splice(this.machines.indexOf(machine), 1);
      this.firewalls.delete(machine.run);
    }
  }
}
