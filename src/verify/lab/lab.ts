import { randomUUID } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type Accelerator, probeAccelerator } from '../../doctor/accelerator.ts';
import { workFolder } from '../../plan/work-folder.ts';
import { run } from '../../process/run.ts';
import { Holder, Peer } from './namespaces.ts';
import { MEMORY_MIB, writeFirmwareVariables } from './qemu-args.ts';
import { writeSeed } from './seed.ts';
import { Vm } from './vm.ts';

/** The lab's only network: private ranges that nothing outside routes, and nothing routes to the outside. */
const NETWORK = { v4: '10.77.0.', v6: 'fd77::', v4Prefix: 24, v6Prefix: 64 } as const;
const address = (host: number) => ({ v4: `${NETWORK.v4}${host}`, v6: `${NETWORK.v6}${host}` });
const withPrefix = ({ v4, v6 }: { v4: string; v6: string }) => [
  `${v4}/${NETWORK.v4Prefix}`,
  `${v6}/${NETWORK.v6Prefix}`,
];

const GATEWAY = 1;
const FIRST_VM = 10;
const ATTACKER = 66;
const FIRST_PEER = 100;

export interface VmOptions {
  /** The image, qcow2. It is only ever the backing file of an overlay. */
  disk: string;
  /** Also the hostname. */
  name: string;
  /** The whole user-data, e.g. `#cloud-config` and the write_files entry of launch.json. */
  userData?: string;
  /** Added to meta-data; `instance-id` here replaces the random one. */
  metaData?: Record<string, unknown>;
  /** Without prefix length; by default the lab's next free ones. */
  address4?: string;
  address6?: string;
  mac?: string;
  /** By default the one that was probed to work. */
  accelerator?: Accelerator;
  memoryMiB?: number;
  /** Size of the machine's disk, at least the image's; by default the same. A cloud gives larger ones. */
  diskGiB?: number;
  firmware?: 'bios' | 'uefi';
  extraArgs?: string[];
}

/**
 * A network of virtual machines and hosts for tests, without root: all of it lives in namespaces that the kernel takes
 * down with this process. No packet leaves them.
 */
export class Lab {
  /** The side that owns the bridge: 10.77.0.1, fd77::1. Machines see it as their gateway; it forwards nothing. */
  readonly host: Peer;
  /** Overlays, consoles, sockets; removed by close. */
  readonly work: string;
  readonly #removeWork: () => void;
  readonly #peers = new Map<string, Peer>();
  readonly #vms: Vm[] = [];
  #nextVm = FIRST_VM;
  #nextPeer = FIRST_PEER;

  private constructor(host: Peer, { work, remove }: ReturnType<typeof workFolder>) {
    this.host = host;
    this.work = work;
    this.#removeWork = remove;
  }

  static async open(): Promise<Lab> {
    const { v4, v6 } = address(GATEWAY);
    const host = new Peer('host', await Holder.root(), v4, v6);
    // Unix sockets live in here too, and their paths end at 107 characters.
    const lab = new Lab(host, workFolder('lab'));
    await host.ip([
      'link set lo up',
      // Without a multicast querier snooping would drop neighbour discovery after some minutes.
      'link add br0 type bridge forward_delay 0 mcast_snooping 0',
      // nodad: in a network this small a clash is our own bug, and detection would cost two seconds.
      ...withPrefix(address(GATEWAY)).map((cidr) => `address add ${cidr} dev br0${cidr.includes(':') ? ' nodad' : ''}`),
      'link set br0 up',
    ]);
    await lab.addPeer('attacker', ATTACKER);
    return lab;
  }

  /** A host of the network by its name. */
  peer(name: string): Peer {
    const peer = this.#peers.get(name);
    if (!peer) throw new Error(`the lab has no peer '${name}', only ${[...this.#peers.keys()].join(', ')}`);
    return peer;
  }

  /**
   * One more host on the bridge, e.g. one that plays the proxy.
   * @param outside its addresses where they aren't the lab's; machines need a route to them, on their link.
   */
  async addPeer(name: string, host = this.#nextPeer++, outside?: { v4: string; v6: string }): Promise<Peer> {
    const { v4, v6 } = outside ?? address(host);
    const own = outside ? [`${v4}/32`, `${v6}/128`] : withPrefix(address(host));
    const holder = await this.host.holder.sibling();
    const peer = new Peer(name, holder, v4, v6);
    const link = `peer${host}`;
    await this.host.ip([
      `link add ${link} type veth peer name eth0 netns ${holder.pid}`,
      `link set ${link} master br0 up`,
    ]);
    await peer.ip([
      'link set lo up',
      ...own.map((cidr) => `address add ${cidr} dev eth0${cidr.includes(':') ? ' nodad' : ''}`),
      'link set eth0 up',
      ...(outside ? withPrefix(address(0)).map((cidr) => `route add ${cidr} dev eth0`) : []),
    ]);
    this.#peers.set(name, peer);
    return peer;
  }

  /** Makes a machine on an overlay of `disk` and switches it on. Its guest then boots on its own: see waitForConsole. */
  async bootVm(options: VmOptions): Promise<Vm> {
    const number = this.#nextVm++;
    const addresses = { v4: options.address4 ?? address(number).v4, v6: options.address6 ?? address(number).v6 };
    // 52:54:00 is QEMU's range of locally made addresses.
    const mac = options.mac ?? `52:54:00:77:00:${number.toString(16).padStart(2, '0')}`;
    const work = join(this.work, String(number));
    mkdirSync(work);
    const overlay = join(work, 'disk.qcow2');
    const size = options.diskGiB ? [`${options.diskGiB}G`] : [];
    await run(
      'qemu-img',
      ['create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', resolve(options.disk), overlay, ...size],
      {
        step: 'vm',
      },
    );
    const firmware = options.firmware ?? 'bios';
    if (firmware === 'uefi') await writeFirmwareVariables(work);
    const seed = await writeSeed(work, {
      instanceId: `i-${randomUUID()}`,
      hostname: options.name,
      mac,
      network: { addresses: withPrefix(addresses), gateways: [this.host.v4, this.host.v6] },
      userData: options.userData,
      metaData: options.metaData,
    });
    const tap = `tap${number}`;
    await this.host.ip([`tuntap add dev ${tap} mode tap`, `link set ${tap} master br0 up`]);
    const accelerator = options.accelerator ?? (await probeAccelerator());
    const { memoryMiB = MEMORY_MIB, extraArgs = [] } = options;
    const hardware = { accelerator, memoryMiB, firmware, overlay, seed, tap, mac, work, uuid: randomUUID(), extraArgs };
    const vm = new Vm(options.name, addresses, hardware, this.host);
    this.#vms.push(vm);
    await vm.powerOn();
    return vm;
  }

  /** Ends every machine, program and namespace of the lab and removes its files. */
  async close(): Promise<void> {
    await Promise.all(this.#vms.map((vm) => vm.close()));
    for (const peer of [...this.#peers.values(), this.host]) await peer.holder.close();
    this.#removeWork();
  }
}

/** Opens an empty lab with one other host, `attacker` (10.77.0.66, fd77::66). Close it when done. */
export async function openLab(): Promise<Lab> {
  return Lab.open();
}
