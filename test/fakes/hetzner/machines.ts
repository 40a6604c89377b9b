import type { Hypervisor, Machine } from '../fake.ts';
import type { Server } from './answers.ts';
import { RescueHost } from './host.ts';

/** A machine that has a network of its own, or an identity of its own on the one that is lent to it. */
export interface NetworkedMachine extends Machine {
  /** Where its SSH answers, on the port that it says itself: a machine in QEMU with a forwarded port. */
  ssh?(): { address: string };
  /** Its private SSH host key in OpenSSH's form, for the sshd that is lent to a recorded one. */
  hostKey?(): string;
}

/** How a box says on its console on which port its sshd listens. */
const PORT = /clawdy: open: SSH as \S+ on port (\d+)|clawdy: ready ssh_port=(\d+)/;
/** For a fake without containers: TEST-NET-1 of RFC 5737 is nobody's. */
const NOBODY = '192.0.2.1';

/** What runs on the fake's servers: rescue systems in a container, snapshots on a hypervisor. */
export class Machines {
  readonly #hypervisor: Hypervisor | undefined;
  readonly #imageDir: string | undefined;
  #host: Promise<RescueHost> | undefined;
  readonly #lent: boolean;

  constructor(options: {
    hypervisor?: Hypervisor | undefined;
    imageDir?: string | undefined;
    host?: RescueHost | undefined;
  }) {
    this.#hypervisor = options.hypervisor;
    this.#imageDir = options.imageDir;
    this.#lent = options.host !== undefined;
    this.#host = options.host && Promise.resolve(options.host);
  }

  /** Started when the first server needs it; seconds. */
  async #started(): Promise<RescueHost | undefined> {
    if (!this.#host && this.#imageDir) this.#host = RescueHost.start(this.#imageDir);
    return this.#host;
  }

  /** Of every server's. */
  async address(): Promise<string> {
    return (await this.#started())?.address ?? NOBODY;
  }

  /** @returns how it is switched off. */
  async rescue(server: Server, keys: string[]): Promise<() => Promise<void>> {
    const host = await this.#started();
    if (!host) return async () => {};
    await host.rescue(server.disk, keys);
    return () => host.off();
  }

  /** @returns how it is switched off. A vendor's image runs nothing. */
  async boot(server: Server): Promise<() => Promise<void>> {
    if (!server.image.file || !this.#hypervisor) return async () => {};
    const { disk, id, userData } = server;
    const machine: NetworkedMachine = await this.#hypervisor.boot({ disk, instanceId: String(id), userData });
    const own = machine.ssh?.().address;
    if (own !== undefined) {
      server.address = own;
      return () => machine.off();
    }
    const stop = this.#lend(machine, userData);
    return async () => {
      await stop();
      await machine.off();
    };
  }

  /** Gives a recorded machine an sshd on the port that its console tells, with the keys of its user-data. */
  #lend(machine: NetworkedMachine, userData: string): () => Promise<void> {
    let told: string | undefined;
    let up = false;
    let busy = Promise.resolve();
    const look = async () => {
      const console = machine.console();
      if (console === told) return;
      const host = await this.#started();
      if (!host) return;
      const [, open, ready] = PORT.exec(console) ?? [];
      const port = Number(open ?? ready);
      if (!port) return;
      if (!up) await host.box(port, userKeysOf(userData), machine.hostKey?.());
      up = true;
      await host.tell(console);
      told = console;
    };
    const next = () => {
      busy = busy.then(look);
      // A test that broke its container fails by what our code then says.
      busy = busy.catch(() => {});
    };
    const timer = setInterval(next, 300);
    next();
    return async () => {
      clearInterval(timer);
      await busy;
      if (up) await (await this.#started())?.off();
    };
  }

  async close(): Promise<void> {
    if (!this.#lent) await (await this.#host)?.close();
  }
}

/** `userKeys` of the launch.json in user-data; none where it isn't there. */
function userKeysOf(userData: string): string[] {
  const { write_files = [] } = JSON.parse(userData.replace(/^#cloud-config\n/, '')) as {
    write_files?: { content: string }[];
  };
  const launch = JSON.parse(write_files[0]?.content ?? '{}') as { userKeys?: string[] };
  return launch.userKeys ?? [];
}
