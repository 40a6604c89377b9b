import { join } from 'node:path';
import { imageTree } from '../bake/tree.ts';
import { userDataOf } from '../launch/launch-json.ts';
import { readImage } from '../manifest/image.ts';
import { BuildError } from '../process/errors.ts';
import type { LayerClaim } from './claims/load.ts';
import { type ClaimResult, runClaim } from './claims/run-claim.ts';
import { Owner } from './owner.ts';
import { type BeforeBoot, ContainerNetwork, ContainerPeer, ContainerTarget, importTree } from './targets/container.ts';
import type { Target } from './targets/target.ts';

/** Milliseconds until a container must have finished first boot; it takes about five seconds on two idle cores. */
const READY_LIMIT_MS = 120_000;

/** Milliseconds for OpenClaw's first start (9 to 35 s natively). */
const LIVE_LIMIT_MS = 180_000;

/** Who the boxes of claims are. */
const LAUNCH_ID = 'claims';
const INSTANCE_ID = 'i-claims';

/** A container of the image and an attacker beside it, for claims. A box that was sabotaged is thrown away. */
export class ContainerStage {
  readonly root: string;
  readonly network: ContainerNetwork;
  readonly peer: ContainerPeer;
  readonly tag: string;
  readonly #owner: Owner;
  #spare: Promise<ContainerTarget> | undefined;

  readonly #boot: { before?: BeforeBoot };

  private constructor(
    root: string,
    network: ContainerNetwork,
    peer: ContainerPeer,
    owner: Owner,
    tag: string,
    before?: BeforeBoot,
  ) {
    this.#boot = before ? { before } : {};
    this.#owner = owner;
    this.root = root;
    this.network = network;
    this.peer = peer;
    this.tag = tag;
  }

  /**
   * @param imageDir folder of a finished image.
   * @param before what each box does to its own tree before systemd starts (`make dev` applies a layer).
   */
  static async open(root: string, imageDir: string, before?: BeforeBoot): Promise<ContainerStage> {
    const tag = await imageTag(imageDir);
    const network = await ContainerNetwork.create();
    const peer = await ContainerPeer.start({ image: tag, network });
    const owner = await Owner.create({ mode: 'direct', sources: [peer.address] });
    return new ContainerStage(root, network, peer, owner, tag, before);
  }

  /** Runs one claim on a box that nothing was done to yet, and throws the box away: its sabotage spoils it. */
  async run(claim: LayerClaim): Promise<ClaimResult> {
    const target = await this.#take();
    try {
      const said = await waitForLine(target, /clawdy: bundle end/);
      await this.#owner.equip(this.peer, said, LAUNCH_ID, INSTANCE_ID);
      if (claim.after === 'live') await waitForLine(target, /clawdy: live ok/, LIVE_LIMIT_MS);
      return await runClaim(claim, { root: this.root, target, peer: this.peer });
    } finally {
      await target.close();
    }
  }

  /** The next box boots while this one is attacked. */
  async #take(): Promise<ContainerTarget> {
    const target = await (this.#spare ?? this.#start());
    this.#spare = this.#start();
    // A spare that fails to boot is reported by the claim that takes it.
    this.#spare.catch(() => undefined);
    return target;
  }

  #start(): Promise<ContainerTarget> {
    return ContainerTarget.boot({
      image: this.tag,
      network: this.network,
      instanceId: INSTANCE_ID,
      userData: userDataOf({ version: 1, launchId: LAUNCH_ID, ...this.#owner.launch }),
      ...this.#boot,
    });
  }

  async close(): Promise<void> {
    await (await this.#spare?.catch(() => undefined))?.close();
    await this.peer.close();
    await this.network.close();
  }
}

/** The Docker image of a finished image's tree, made where it isn't there yet. */
export async function imageTag(imageDir: string): Promise<string> {
  const image = readImage(imageDir);
  const log = join(imageDir, 'logs', 'tree.log');
  const tag = `clawdy-tree:${image.disk.rawSha256.slice(0, 16)}`;
  return importTree(await imageTree(image, join(imageDir, 'payload.tar'), log), tag, log);
}

/**
 * Waits until the box says something on its console. This waits on readiness, never on a security outcome.
 * @throws BuildError with the console's end: when it closed itself, or when time is up.
 */
export async function waitForLine(target: Target, line: RegExp, limitMs = READY_LIMIT_MS): Promise<string> {
  const end = Date.now() + limitMs;
  for (;;) {
    const console = await target.console();
    if (line.test(console)) return console;
    const closed = /clawdy: closed: .*/.exec(console)?.[0];
    if (closed || Date.now() > end) {
      const said = console.trimEnd().split('\n').slice(-15).join('\n');
      throw new BuildError('boot', closed ?? `the box never said ${line}`, 'read what it said', { tail: said });
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}
