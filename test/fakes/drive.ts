/**
 * Publishes, prunes or promotes as the command does, in a process of its own that can be killed, with pauses that fit a fake:
 *
 *     node test/fakes/drive.ts publish|prune|promote|rollback|channels <cloud> <regions> [<image folder>]
 *
 * Environment: as for the commands. The result, as JSON, on standard output.
 */
import { openAws } from '../../src/clouds/aws/index.ts';
import { TIMES } from '../../src/clouds/aws/times.ts';
import type { Cloud } from '../../src/clouds/cloud.ts';
import { openCloud } from '../../src/clouds/find.ts';
import { readImage } from '../../src/manifest/image.ts';
import { renderError } from '../../src/process/errors.ts';
import { Progress } from '../../src/process/progress.ts';
import { publicationsDir } from '../../src/publish/journal.ts';
import { lockFolders } from '../../src/publish/lock.ts';
import { carryOut, planPromote, planRollback } from '../../src/publish/promote.ts';
import { carryOutPrune, planPrune } from '../../src/publish/prune.ts';
import { publish } from '../../src/publish/publish.ts';
import { ROOT } from '../image.ts';

const [action, name = '', regionList = '', imageDir = ''] = process.argv.slice(2);
const regions = regionList.split(',').filter(Boolean);

/** Of the small images. */
const BASE = 'debian-13';

/** A fake answers at once. */
const FAST = { ...TIMES, minPause: 5, maxPause: 50, poll: 10, maxPoll: 50, note: 0 };

function open(): Promise<Cloud> {
  return name === 'aws' ? openAws({ regions }, FAST) : openCloud(name, { regions });
}

let release: (() => Promise<void>) | undefined;
try {
  const dir = publicationsDir(ROOT);
  const cloud = await open();
  release = await lockFolders([dir]);
  if (action === 'publish') {
    const result = await publish({ imageDir, image: readImage(imageDir), cloud, dir }, new Progress());
    process.stdout.write(JSON.stringify(result));
  } else if (action === 'promote' || action === 'rollback') {
    await carryOut(
      cloud,
      BASE,
      await (action === 'promote' ? planPromote(cloud, BASE, undefined) : planRollback(cloud, BASE)),
    );
  } else if (action === 'channels') {
    for (const region of cloud.regions)
      for (const { image, channels } of await cloud.list(region))
        for (const channel of channels) process.stdout.write(`${region} ${channel} ${image}\n`);
  } else {
    const decisions = await planPrune(cloud, dir, { keep: 1, graceDays: 0 });
    await carryOutPrune(cloud, dir, decisions, () => {});
    process.stdout.write(JSON.stringify(decisions));
  }
  cloud.close();
} catch (error) {
  process.stderr.write(`${renderError(error)}\n`);
  process.exitCode = 1;
} finally {
  await release?.();
}
