import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { openCloud } from '../clouds/find.ts';
import { Store } from '../clouds/local/store.ts';
import { assignSlug } from '../edge/assign.ts';
import { readInventory, slugsOf } from '../edge/inventory.ts';
import { loadEdgeSecrets } from '../edge/secrets.ts';
import { boxOf } from '../keys/box.ts';
import { openRouterKeys } from '../keys/openrouter.ts';
import { hasKey, retireKeys, withKeys } from '../keys/retire.ts';
import { capsOf, rotateKey } from '../keys/rotate.ts';
import { chooseImage } from '../launch/choose.ts';
import { launchHosted } from '../launch/hosted.ts';
import { launchLocal } from '../launch/local/launch.ts';
import { decryptWith, readOperator } from '../launch/operator.ts';
import { isLive, outsideBy } from '../launch/outside.ts';
import { destroyInstance, openMachines, startInstance, stopInstance, whichRun } from '../launch/power.ts';
import type { InstanceRecord } from '../launch/records.ts';
import { ask } from '../ops/channel.ts';
import { moveState } from '../ops/state.ts';
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
  /** edge.yaml; where it isn't there, nobody is led anywhere. */
  edge: string;
}

/** The base of an image's ID, `<base>-<time>-<digest>`: what takes an instance's place is of the same. */
export const baseOf = (imageId: string) => imageId.replace(/-\d{8}T\d{6}Z-[0-9a-f]+$/, '');

/** The real ones. @throws BuildError (input) for an edge.yaml that can't be read. */
export function handsOf({ image, edge }: Wanted, progress: Progress): Hands {
  const inventory = existsSync(edge) ? readInventory(edge) : undefined;
  const said = (text: string) => process.stderr.write(`${text}\n`);
  return {
    launch: (old) =>
      old.cloud === 'local' ? launchHere(old, image, progress) : launchThere(old, image, inventory?.proxy, progress),
    move: (old, next, documents) => moveState(old, next, { stop: true, documents }),
    bringKey: async (from, to) => {
      if (!hasKey(from)) return false;
      const api = openRouterKeys();
      const caps = await capsOf(api, boxOf(from));
      if (!caps) return false;
      await withKeys(() => rotateKey(api, boxOf(to), { caps, graceMs: GRACE_MS }));
      return true;
    },
    retireKeys,
    check: async (record) => {
      await ask(record, 'selfcheck', {});
      await waitLive(record, false);
    },
    lead: async (from, to) => {
      if (!inventory) return;
      const code = await decryptWith((await readOperator()).identity, to.code_encrypted);
      for (const slug of slugsOf(inventory, from.instance_id)) {
        const reached = await assignSlug(edge, slug, to, code, loadEdgeSecrets());
        if (reached !== 200) said(`${slug}: the proxy has it, and its gate answers ${reached ?? 'nothing'}`);
      }
    },
    revive: async (record) => {
      const [runs] = await whichRun([record]);
      if (!runs) await startInstance(record, progress);
      // A box that ended its OpenClaw for a copy has closed itself; a reboot takes that back.
      else if (!(await isLive(record).catch(() => false))) await ask(record, 'reboot', {});
      // Until it has rebooted it says that it is closed.
      await waitLive(record, true);
    },
    stop: (record) => stopInstance(record, progress),
    destroy: (record) => destroyInstance(record, progress),
  };
}

async function launchHere(old: InstanceRecord, wanted: string, progress: Progress): Promise<InstanceRecord> {
  const cloud = await openCloud('local', { regions: [] });
  const { image: id } = await chooseImage(cloud, cloud.regions[0], wanted, baseOf(old.image_id)).finally(() =>
    cloud.close(),
  );
  const image = { id, disk: new Store().disk(id), gate: true };
  const { user, instance_id: replaces } = old;
  return launchLocal({ image, sshKey: keysOf(old), user, wait: true, keep: false, replaces }, progress);
}

async function launchThere(
  old: InstanceRecord,
  wanted: string,
  proxy: string | undefined,
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
  const cloud = await openCloud(name, { regions: [region] });
  const image = await chooseImage(cloud, region, wanted, baseOf(old.image_id)).finally(() => cloud.close());
  const machines = await openMachines(name, region);
  try {
    const { size, learning } = launch;
    const options = { image, keys: keysOf(old), front, size: size ?? undefined, learning, wait: true, replaces };
    return await launchHosted(machines, options, outsideBy(learning.by === 'url' ? proxy : undefined), progress);
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
