import { join } from 'node:path';
import { userDataOf } from '../../launch/launch-json.ts';
import { BuildError } from '../../process/errors.ts';
import type { Progress } from '../../process/progress.ts';
import { lastLine } from '../../process/run.ts';
import type { LayerClaim } from '../claims/load.ts';
import { runClaim } from '../claims/run-claim.ts';
import type { FrontMode } from '../claims/schema.ts';
import { type Lab, openLab } from '../lab/lab.ts';
import { trouble } from '../lab/trouble.ts';
import { Owner } from '../owner.ts';
import type { ClaimResult } from '../report/schema.ts';
import { VmPeer, VmTarget } from '../targets/vm.ts';
import { stopChecks } from './ready.ts';
import { ASLEEP, type Hold, INSTANCE_ID, LAUNCH_ID, type Stage } from './stage.ts';

/** Milliseconds; emulated on two slow cores, with nothing beside it, OpenClaw answers after nine minutes. */
const LIVE_LIMIT_MS = 2_100_000;
/** Emulated, sshd runs after a minute and a half. */
const READY_LIMIT_MS = 900_000;

/** One address of each of Cloudflare's own lists, https://www.cloudflare.com/ips/. */
export const CLOUDFLARE = { v4: '173.245.48.9', v6: '2400:cb00::9' };

/** The moment that each claim starts from: the box is as far as the one that wants most. */
const MOMENT = 'claims';

interface Ready {
  target: VmTarget;
  peers: { attacker: VmPeer; proxy: VmPeer };
}

/** Machines of the image, one a mode that is asked for, and hosts beside them on a bridge of their own. */
export class VmStage implements Stage {
  readonly kind = 'vm';
  readonly #root: string;
  readonly #disk: string;
  readonly #lab: Lab;
  readonly #progress: Progress;
  readonly #after: LayerClaim['after'];
  readonly #machines = new Map<FrontMode, Promise<Ready>>();
  #awake: Ready | undefined;

  private constructor(root: string, disk: string, lab: Lab, progress: Progress, after: LayerClaim['after']) {
    this.#root = root;
    this.#disk = disk;
    this.#lab = lab;
    this.#progress = progress;
    this.#after = after;
  }

  /**
   * @param imageDir folder of a finished image; its disk is only ever the backing file of an overlay.
   * @param after what the claims wait for; where none waits for OpenClaw, it has a sleep in its place.
   */
  static async open(root: string, imageDir: string, progress: Progress, after: LayerClaim['after']): Promise<VmStage> {
    return new VmStage(root, join(imageDir, 'disk.qcow2'), await openLab(), progress, after);
  }

  /** Runs one claim on a machine that is set back to the moment when it was ready: a sabotage leaves nothing. */
  async run(claim: LayerClaim, hold?: Hold): Promise<ClaimResult> {
    const ready = await this.#machine(claim.front);
    if (this.#awake && this.#awake !== ready) await this.#awake.target.vm.pause();
    this.#awake = ready;
    await ready.target.vm.restore(MOMENT);
    const result = await runClaim(claim, { root: this.#root, ...ready });
    await hold?.(ready.target, result);
    return result;
  }

  #machine(front: FrontMode): Promise<Ready> {
    const known = this.#machines.get(front);
    if (known) return known;
    const made = front === 'direct' ? this.#bootDirect() : this.#bootCloudflare();
    this.#machines.set(front, made);
    return made;
  }

  async #bootDirect(): Promise<Ready> {
    const proxy = await this.#lab.addPeer('proxy');
    const owner = await Owner.create({ mode: 'direct', sources: [proxy.v4, proxy.v6] });
    return this.#boot(owner, 'direct', new VmPeer(proxy));
  }

  async #bootCloudflare(): Promise<Ready> {
    const edge = await this.#lab.addPeer('cloudflare', undefined, CLOUDFLARE);
    return this.#boot(await Owner.create({ mode: 'cloudflare' }), 'cloudflare', new VmPeer(edge));
  }

  async #boot(owner: Owner, name: FrontMode, proxy: VmPeer): Promise<Ready> {
    await this.#awake?.target.vm.pause();
    this.#awake = undefined;
    const vm = await this.#lab.bootVm({
      disk: this.#disk,
      name,
      userData: userDataOf({ version: 1, launchId: LAUNCH_ID, ...owner.launch }),
      metaData: { 'instance-id': INSTANCE_ID },
    });
    const ready = { target: new VmTarget(vm), peers: { attacker: new VmPeer(this.#lab.peer('attacker')), proxy } };
    const live = this.#after === 'live';
    const until = live ? 'OpenClaw answers' : 'sshd runs';
    await this.#progress.step(`boot a machine to attack (mode ${name}), until ${until}`, async ({ detail }) => {
      const timer = setInterval(() => detail(lastLine(vm.console())), 2000);
      try {
        await vm.waitForConsole(/clawdy: bundle end/, READY_LIMIT_MS);
        await vm.waitForConsole(live ? /clawdy: live ok/ : /clawdy: ready/, LIVE_LIMIT_MS);
      } finally {
        clearInterval(timer);
      }
    });
    if (!live) {
      const sleep = `${ASLEEP} && systemctl daemon-reload && systemctl --no-block restart openclaw.service`;
      const { exitCode, stderr } = await vm.exec(sleep);
      if (exitCode !== 0)
        throw new BuildError(`vm ${name}`, "OpenClaw can't be put to sleep", 'see what it said', { tail: stderr });
    }
    const said = trouble(vm.console()).join('\n');
    if (said) throw new BuildError(`vm ${name}`, 'its boot went wrong in part', 'read its console', { tail: said });
    await stopChecks(ready.target);
    if (name === 'cloudflare') await vm.exec(routeTo(proxy, this.#lab.host.v4));
    await owner.equip(proxy, vm.console(), LAUNCH_ID, INSTANCE_ID);
    await vm.save(MOMENT);
    return ready;
  }

  async close(): Promise<void> {
    await this.#lab.close();
  }
}

/**
 * A command that tells a machine that a host of other addresses is on its own link: what a router would do.
 * @param neighbour an address of that link.
 */
export function routeTo({ addresses }: VmPeer, neighbour: string): string {
  const link = `dev "$(ip -o route get ${neighbour} | sed 's/.* dev \\([^ ]*\\).*/\\1/')"`;
  return `ip route add ${addresses.v4} ${link}; ip -6 route add ${addresses.v6} ${link}`;
}
