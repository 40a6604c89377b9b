import { basename, dirname, join } from 'node:path';
import lockfile from 'proper-lockfile';
import { imageTree } from '../../bake/tree.ts';
import { userDataOf } from '../../launch/launch-json.ts';
import { readImage } from '../../manifest/image.ts';
import { type Absence, judgeAbsence } from '../absence.ts';
import type { LayerClaim } from '../claims/load.ts';
import { attackWithout, runClaim } from '../claims/run-claim.ts';
import type { FrontMode, Touched } from '../claims/schema.ts';
import { HELD, Owner } from '../owner.ts';
import type { ClaimResult } from '../report/schema.ts';
import { type BeforeBoot, ContainerNetwork, ContainerPeer, ContainerTarget, importTree } from '../targets/container.ts';
import { listeningOn } from './listening.ts';
import { keepParts, mend, turn } from './mend.ts';
import { stopChecks, waitForLine } from './ready.ts';
import { ASLEEP, type Hold, INSTANCE_ID, LAUNCH_ID, type Stage } from './stage.ts';

/** Milliseconds for OpenClaw’s first start: 9 to 35 s natively, three minutes where several boxes start at once on slow cores. */
const LIVE_LIMIT_MS = 600_000;
/** A box that lacks a layer may never say that it lives; by then what starts has started. */
const MAIMED_LIMIT_MS = 45_000;

type Kind = Pick<LayerClaim, 'front' | 'after'>;

const same = (a: Kind, b: Kind) => a.front === b.front && a.after === b.after;

interface Options {
  /** What each box does to its own tree before systemd starts (`make dev` applies a layer). */
  before?: BeforeBoot;
  /** Hears of each box that couldn't be put back for the next claim, and why. */
  onUnfit?: (error: unknown) => void;
}

/** Containers of the image and two hosts beside them. A box that was sabotaged is thrown away, or put back where a claim says how. */
export class ContainerStage implements Stage {
  readonly kind = 'container';
  listening: string[] | undefined;
  readonly #root: string;
  readonly #tag: string;
  readonly #network: ContainerNetwork;
  readonly #attacker: ContainerPeer;
  readonly #proxy: ContainerPeer;
  readonly #owners: Record<FrontMode, Owner>;
  readonly #options: Options;
  /** The next box, of the kind that was asked for last. */
  #spare: { kind: Kind; box: Promise<ContainerTarget> } | undefined;
  /** One that was attacked and put back. */
  #mended: { kind: Kind; touched: Touched; box: ContainerTarget } | undefined;

  private constructor(
    root: string,
    tag: string,
    hosts: { network: ContainerNetwork; attacker: ContainerPeer; proxy: ContainerPeer },
    owners: Record<FrontMode, Owner>,
    options: Options,
  ) {
    this.#root = root;
    this.#tag = tag;
    this.#network = hosts.network;
    this.#attacker = hosts.attacker;
    this.#proxy = hosts.proxy;
    this.#owners = owners;
    this.#options = options;
  }

  /** @param tag Docker image of the boxes: imageTag, or a tree without a layer. */
  static async open(root: string, tag: string, options: Options = {}): Promise<ContainerStage> {
    const network = await ContainerNetwork.create();
    const [attacker, proxy] = await Promise.all([
      ContainerPeer.start({ image: tag, network }),
      ContainerPeer.start({ image: tag, network }),
    ]);
    const owners = {
      direct: await Owner.create({ mode: 'direct', sources: [proxy.addresses.v4, proxy.addresses.v6] }),
      cloudflare: await Owner.create({ mode: 'cloudflare' }),
    };
    return new ContainerStage(root, tag, { network, attacker, proxy }, owners, options);
  }

  /** Runs one claim on a box that nothing was done to yet, or on one that was put back. */
  async run(claim: LayerClaim, hold?: Hold): Promise<ClaimResult> {
    const target = (claim.touches && (await this.#takeMended(claim, claim.touches))) ?? (await this.#prepare(claim));
    let mended = false;
    try {
      const peers = { attacker: this.#attacker, proxy: this.#proxy };
      const result = await runClaim(claim, { root: this.#root, target, peers });
      await hold?.(target, result);
      if (claim.touches && result.ok && !hold && (await this.#fits(mend(target, claim.touches)))) {
        this.#mended = { kind: claim, touched: claim.touches, box: target };
        mended = true;
      }
      return result;
    } finally {
      if (!mended) await target.close();
    }
  }

  async #prepare(claim: LayerClaim): Promise<ContainerTarget> {
    // The proxy holds one box's code.
    await this.#dropMended();
    const target = await this.#take(claim);
    try {
      const said = await waitForLine(target, /clawdy: bundle end/);
      await this.#owners[claim.front].equip(this.#proxy, said, LAUNCH_ID, INSTANCE_ID);
      if (claim.after === 'live') {
        await waitForLine(target, /clawdy: live ok/, LIVE_LIMIT_MS);
        await stopChecks(target);
        this.listening ??= await listeningOn(target);
      }
      if (claim.touches) await keepParts(target, claim.touches);
      return target;
    } catch (error) {
      await target.close();
      throw error;
    }
  }

  async #takeMended(kind: Kind, touched: Touched): Promise<ContainerTarget | undefined> {
    if (!this.#mended || !same(this.#mended.kind, kind)) return undefined;
    const { box, touched: before } = this.#mended;
    this.#mended = undefined;
    if (await this.#fits(turn(box, before, touched))) return box;
    await box.close();
    return undefined;
  }

  /** A box that can't be put back costs a new one, and no claim: what was seen on it was seen before. */
  #fits(work: Promise<void>): Promise<boolean> {
    return work.then(
      () => true,
      (error: unknown) => {
        this.#options.onUnfit?.(error);
        return false;
      },
    );
  }

  /** A claim's attack on a box that lacks the claim's layer. @throws BuildError where such a box closes itself. */
  async runWithout(claim: LayerClaim): Promise<Absence> {
    const target = await this.#take(claim);
    try {
      await waitForLine(target, /clawdy: ready/);
      if (claim.after === 'live') {
        await waitForLine(target, /clawdy: live ok/, MAIMED_LIMIT_MS).catch((error: Error) => {
          if (error.message.includes('clawdy: closed')) throw error;
        });
        await stopChecks(target);
      }
      // Without a gate there is nothing to equip anybody for, and nobody may hold what another box gave.
      await this.#owners[claim.front]
        .equip(this.#proxy, await target.console(), LAUNCH_ID, INSTANCE_ID)
        .catch(() => this.#proxy.exec(`rm -rf ${HELD}`));
      const peers = { attacker: this.#attacker, proxy: this.#proxy };
      const { attack, alone } = await attackWithout(claim, { root: this.#root, target, peers });
      return judgeAbsence(claim, attack, alone);
    } finally {
      await target.close();
    }
  }

  /** The next box boots while this one is attacked, where one will be needed. */
  async #take({ front, after, touches }: LayerClaim): Promise<ContainerTarget> {
    const kind = { front, after };
    const fits = this.#spare && same(this.#spare.kind, kind);
    if (!fits) await this.#dropSpare();
    const box = await (this.#spare?.box ?? this.#start(kind));
    this.#spare = undefined;
    if (!touches) {
      this.#spare = { kind, box: this.#start(kind) };
      // A spare that fails to boot is reported by the claim that takes it.
      this.#spare.box.catch(() => undefined);
    }
    return box;
  }

  #start({ front, after }: Kind): Promise<ContainerTarget> {
    const commands = [
      this.#options.before?.command,
      ...(after === 'ready' ? [ASLEEP] : []),
      ...(front === 'cloudflare' ? [playCloudflare(this.#proxy)] : []),
    ];
    const command = commands.filter(Boolean).join(' && ');
    return ContainerTarget.boot({
      image: this.#tag,
      network: this.#network,
      instanceId: INSTANCE_ID,
      userData: userDataOf({ version: 1, launchId: LAUNCH_ID, ...this.#owners[front].launch }),
      ...(command ? { before: { ...this.#options.before, command } } : {}),
    });
  }

  async #dropSpare(): Promise<void> {
    const spare = this.#spare;
    this.#spare = undefined;
    await (await spare?.box.catch(() => undefined))?.close();
  }

  async #dropMended(): Promise<void> {
    const mended = this.#mended;
    this.#mended = undefined;
    await mended?.box.close();
  }

  async close(): Promise<void> {
    await this.#dropSpare();
    await this.#dropMended();
    await this.#attacker.close();
    await this.#proxy.close();
    await this.#network.close();
  }
}

/**
 * A command for a tree that isn't booted yet: a peer's own addresses then stand among Cloudflare's, because a container
 * network drops packets from any others.
 */
export function playCloudflare({ addresses }: ContainerPeer): string {
  const ranges = '/var/lib/clawdy/state/cloudflare/ranges';
  const baked = '/usr/lib/clawdy/cloudflare/ranges.baked';
  // A tree without layer 06 has none.
  return `if [ -e ${baked} ]; then install -D -m 0600 ${baked} ${ranges} && printf '%s\\n' ${addresses.v4} ${addresses.v6} >>${ranges}; fi`;
}

/** The Docker image of a finished image's tree, made where it isn't there yet. */
export async function imageTag(imageDir: string): Promise<string> {
  const image = readImage(imageDir);
  const log = join(imageDir, 'logs', 'tree.log');
  const tree = await imageTree(image, join(imageDir, 'payload.tar'), log);
  // The cache's key of the tree: made of the disk's digest and of the code that makes the tree.
  const tag = `clawdy-tree:${basename(dirname(tree)).slice(0, 16)}`;
  // Two test files may begin at once; a second import would leave the first one's gigabyte without a name.
  const release = await lockfile.lock(tree, {
    realpath: false,
    stale: 60_000,
    update: 15_000,
    retries: { retries: 600, factor: 1, minTimeout: 500 },
  });
  try {
    return await importTree(tree, tag, log);
  } finally {
    await release();
  }
}
