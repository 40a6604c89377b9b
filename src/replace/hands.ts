import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CloudImage } from '../clouds/cloud.ts';
import { openCloud } from '../clouds/find.ts';
import { Store } from '../clouds/local/store.ts';
import { assignSlug } from '../edge/assign.ts';
import { readInventory, slugsOf } from '../edge/inventory.ts';
import { loadEdgeSecrets } from '../edge/secrets.ts';
import { boxOf } from '../keys/box.ts';
import { openRouterKeys } from '../keys/openrouter.ts';
import { hasKey, mayManageKeys, retireKeys, withKeys } from '../keys/retire.ts';
import { capsOf, rotateKey } from '../keys/rotate.ts';
import { chooseImage } from '../launch/choose.ts';
import type { Learning } from '../launch/front.ts';
import { launchHosted } from '../launch/hosted.ts';
import { launchLocal } from '../launch/local/launch.ts';
import { decryptWith, readOperator } from '../launch/operator.ts';
import { isLive, outsideBy } from '../launch/outside.ts';
import { destroyInstance, openMachines, startInstance, stopInstance, whichRun } from '../launch/power.ts';
import { type InstanceRecord, readRecord } from '../launch/records.ts';
import { ask } from '../ops/channel.ts';
import { moveState } from '../ops/state.ts';
import { status } from '../ops/status.ts';
import { BuildError, inputError } from '../process/errors.ts';
import type { Progress } from '../process/progress.ts';
import type { Hands } from './replace.ts';

/** Milliseconds: an emulated box reboots in minutes; its own limit for its live check is 30. Between two looks. */
const LIVE = { limit: 35 * 60_000, poll: 5000 } as const;
/** How long a key that was disabled stays to be read at OpenRouter. */
const GRACE_MS = 24 * 3600_000;

export interface Wanted {
  /** A channel, or an image's ID. */
  image: string;
  /** edge.yaml; undefined: nobody is led anywhere. */
  edge: string | undefined;
  /** Networks of this computer, for instances whose bundle is learnt by the operators' channel; undefined: those of the first launch. */
  from?: string[] | undefined;
}

/** The base of an image's ID, `<base>-<time>-<digest>`: what takes an instance's place is of the same. */
export const baseOf = (imageId: string) => imageId.replace(/-\d{8}T\d{6}Z-[0-9a-f]+$/, '');

/** The real ones. */
export function handsOf(wanted: Wanted, progress: Progress): Hands {
  const { edge } = wanted;
  return {
    prepare: (old) => prepare(old, wanted),
    slugs: (record) => slugsFor(record, edge),
    launch: async (old) => {
      const image = await imageFor(old, wanted.image);
      return old.cloud === 'local' ? launchHere(old, image, progress) : launchThere(old, image, wanted, progress);
    },
    move: (old, next, documents) => moveState(old, next, { stop: true, documents }),
    bringKey: async (from, to) => {
      // The box itself isn't asked: one goes back from what doesn't answer.
      const caps = mayManageKeys() || hasKey(from) ? await capsOf(openRouterKeys(), boxOf(from)) : undefined;
      if (!caps) return false;
      await withKeys(() => rotateKey(openRouterKeys(), boxOf(to), { caps, graceMs: GRACE_MS }));
      return true;
    },
    retireKeys,
    check: async (record) => {
      await ask(record, 'selfcheck', {});
      await waitLive(record, false);
    },
    lead: async (slugs, to) => {
      const code = await decryptWith((await readOperator()).identity, to.code_encrypted);
      for (const slug of slugs) {
        const reached = await assignSlug(edge as string, slug, to, code, loadEdgeSecrets());
        if (reached !== 200)
          throw new BuildError(
            'edge',
            `${slug}: the auth proxy has it, and its gate answers ${reached ?? 'nothing'}`,
            `does its origin lead to ${to.address}, and has it what was set by verbs (set-tunnel-token, set-origin-cert)? Then the same command`,
          );
      }
    },
    revive: async (record) => {
      const [runs] = await whichRun([record]);
      if (!runs) await startInstance(record, progress);
      // A box that ended its OpenClaw for a copy has closed itself; a reboot takes that back.
      else if (!(await isLive(record).catch(() => false))) await ask(record, 'reboot', {});
      // It may have another address.
      const now = readRecord(record.instance_id);
      // Until it has rebooted it says that it is closed.
      await waitLive(now, true);
      return now;
    },
    stop: (record) => stopInstance(record, progress),
    destroy: (record) => destroyInstance(record, progress),
  };
}

/** What would otherwise be missed when the old one's OpenClaw has ended already. */
async function prepare(old: InstanceRecord, { image, edge }: Wanted): Promise<string[]> {
  await imageFor(old, image);
  keysOf(old);
  await hasSuccessorKey(old);
  const slugs = slugsFor(old, edge);
  if (slugs.length) {
    loadEdgeSecrets();
    await readOperator();
  }
  return slugs;
}

/** @throws BuildError where the instance has a key, and its successor couldn't get one. */
async function hasSuccessorKey(old: InstanceRecord): Promise<void> {
  const { openrouterKeyDigest } = await status(old);
  if (!openrouterKeyDigest && !hasKey(old)) return;
  const { instance_id: id } = old;
  if (!mayManageKeys())
    throw inputError(
      'keys',
      `${id} has an OpenRouter key: its successor is to get one`,
      'set OPENROUTER_MANAGEMENT_KEY',
    );
  if (openrouterKeyDigest && !(await capsOf(openRouterKeys(), boxOf(old))))
    throw inputError(
      'keys',
      `${id} has a key that this account knows nothing of`,
      'OPENROUTER_MANAGEMENT_KEY of the account that made it; or take it away: npm run ops -- <id> set-openrouter-key',
    );
}

/** @throws BuildError (input) where there is no such file. */
function slugsFor({ instance_id: id }: InstanceRecord, edge: string | undefined): string[] {
  if (edge === undefined) return [];
  if (!existsSync(edge))
    throw inputError('edge', `there is no ${edge}`, 'leave --edge out where there is no auth proxy');
  return slugsOf(readInventory(edge), id);
}

async function imageFor({ cloud: name, region, image_id }: InstanceRecord, wanted: string): Promise<CloudImage> {
  const cloud = await openCloud(name, { regions: region ? [region] : [] });
  try {
    return await chooseImage(cloud, region ?? cloud.regions[0], wanted, baseOf(image_id));
  } finally {
    cloud.close();
  }
}

function launchHere(old: InstanceRecord, { image: id }: CloudImage, progress: Progress): Promise<InstanceRecord> {
  const image = { id, disk: new Store().disk(id), gate: true };
  const { user, instance_id: replaces } = old;
  return launchLocal({ image, sshKey: keysOf(old), user, wait: true, keep: false, replaces }, progress);
}

async function launchThere(
  old: InstanceRecord,
  image: CloudImage,
  { edge, from }: Wanted,
  progress: Progress,
): Promise<InstanceRecord> {
  const { cloud: name, region, launch, instance_id: replaces } = old;
  const front = launch?.front;
  if (!launch || !front || !region)
    throw inputError(
      'replace',
      `the record of ${replaces} doesn't say how it was launched`,
      'launch its successor by hand',
    );
  const machines = await openMachines(name, region);
  try {
    const learning: Learning =
      launch.learning.by === 'channel' && from?.length ? { by: 'channel', from } : launch.learning;
    const proxy = learning.by === 'url' && edge ? readInventory(edge).proxy : undefined;
    const options = { image, keys: keysOf(old), front, size: launch.size ?? undefined, learning, wait: true, replaces };
    return await launchHosted(machines, options, outsideBy(proxy), progress);
  } finally {
    machines.close();
  }
}

function keysOf({ instance_id: id, launch, ssh }: InstanceRecord) {
  if (!launch)
    throw inputError('replace', `the record of ${id} doesn't say who may log in`, 'launch its successor by hand');
  return { userKeys: launch.user_keys, privateFile: ssh.identity_file ?? undefined };
}

/**
 * @param bearsClosed it may say for a while that it has closed itself.
 * @throws BuildError where it has closed itself, or time is up.
 */
async function waitLive(record: InstanceRecord, bearsClosed: boolean): Promise<void> {
  const until = Date.now() + LIVE.limit;
  for (;;) {
    const live = await isLive(record).catch((error: unknown) => {
      if (bearsClosed && Date.now() < until) return false;
      throw error;
    });
    if (live) return;
    if (Date.now() > until)
      throw new BuildError('replace', `${record.instance_id} doesn't come up`, 'npm run -s ops -- <id> diagnostics');
    await sleep(LIVE.poll);
  }
}
