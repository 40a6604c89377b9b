/** A whole launch on the fake of AWS, by the code that launches everywhere: cut after each call in turn, nobody is left over. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import type { CloudImage } from '../../src/clouds/cloud.ts';
import type { Machines } from '../../src/clouds/machines.ts';
import { type HostedLaunch, launchHosted, type Outside } from '../../src/launch/hosted.ts';
import { cutLaunches, settleLaunches } from '../../src/launch/journal.ts';
import { destroyInstance } from '../../src/launch/power.ts';
import { listRecords } from '../../src/launch/records.ts';
import { Progress } from '../../src/process/progress.ts';
import { abandonLaunches } from '../fakes/abandoned.ts';
import { GATE } from '../fakes/memory-machines.ts';
import { withBundle } from '../fakes/recorded.ts';
import { BUNDLE } from '../unit/launch-fixture.ts';
import { fakeAws, REGION } from './aws-fixture.ts';
import { dying, instance, left, letIn, opened, published } from './aws-launch-fixture.ts';

const work = mkdtempSync(join(tmpdir(), 'clawdy-aws-launch-'));
process.env.XDG_STATE_HOME = join(work, 'state');
process.env.XDG_CONFIG_HOME = join(work, 'config');
test.after.always(() => rmSync(work, { recursive: true, force: true }));

/** What an image would say that was given this user-data. */
const box = {
  boot: async ({ instanceId, userData }: { instanceId: string; userData: string }) => {
    const said = `clawdy: image ${imageId}, instance ${instanceId}\nclawdy: live ok\n`;
    const hostKey = BUNDLE.ssh.hostKeys[0] as string;
    const text = await withBundle(said, { instanceId, userData, hostKey, gate: GATE });
    return { console: () => text, off: async () => {} };
  },
};
let imageId = '';

const outside: Outside = {
  checkHostKey: async () => {},
  byChannel: () => ({ heard: async () => '', close: () => {} }),
  isLive: async () => true,
};

function launch(machines: Machines, image: CloudImage) {
  const options: HostedLaunch = {
    ...{ image, size: undefined, learning: { by: 'console' }, wait: true },
    keys: { userKeys: [`ssh-ed25519 ${'A'.repeat(68)}`], privateFile: undefined },
    front: {
      ...{ mode: 'direct', hosts: ['alice.example.com'], users: ['alice@example.com'] },
      direct: { clientCa: ['A'.repeat(64)], sources: ['198.51.100.7'] },
    },
  };
  return launchHosted(machines, options, outside, new Progress());
}

test.serial(
  'a launch from a published image: IMDSv2, one hop, its own group, open for what layer 05 opens',
  async (t) => {
    const fake = await fakeAws(t, box);
    const image = await published(t);
    imageId = image.image;
    const record = await launch(await opened(t), image);
    t.like(record, { cloud: 'aws', region: REGION, image_id: image.image });
    const made = instance(fake, record.instance_id);
    t.like(made, { metadata: { HttpTokens: 'required', HttpPutResponseHopLimit: 1 } });
    t.false(made.tags.has('clawdy-temporary'));
    t.deepEqual(letIn(fake, record.run as string), [
      `tcp ${record.ssh.port} 0.0.0.0/0`,
      `tcp ${record.ssh.port} ::/0`,
      'tcp 443 198.51.100.7/32',
    ]);
    await destroyInstance(record, new Progress());
    t.deepEqual([left(fake), listRecords().records], [[], []]);
  },
);

test.serial('cut after any call, the next command leaves nothing but what has a record', async (t) => {
  const fake = await fakeAws(t, box);
  const image = await published(t);
  imageId = image.image;
  const kept: string[] = [];
  const died = await dying(
    t,
    fake,
    async () => {},
    (dead) => launch(dead, image),
    async (_, where) => {
      abandonLaunches();
      await settleLaunches(() => opened(t));
      const { records } = listRecords();
      const whole = records.length ? ['instance', 'security-group'] : [];
      t.deepEqual([left(fake), cutLaunches().cut], [whole, []], where);
      for (const record of records) {
        kept.push(where);
        t.false(instance(fake, record.instance_id).tags.has('clawdy-temporary'), where);
        await destroyInstance(record, new Progress());
      }
    },
  );
  for (const call of ['CreateSecurityGroup', 'RunInstances', 'AuthorizeSecurityGroupIngress', 'DeleteTags'])
    t.true(died.includes(call), call);
  t.true(kept.length > 0 && kept.length < died.length, 'some were over, most were taken back');
});
