import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { cacheRoot } from '../../src/plan/cache.ts';
import { run } from '../../src/process/run.ts';
import type { PublishResult } from '../../src/publish/publish.ts';
import { startFakeAws } from '../fakes/aws/index.ts';
import { startFakeHetzner, whyNoLoop } from '../fakes/hetzner/index.ts';
import { provenCopy } from '../fakes/proof.ts';
import { QemuHypervisor } from '../fakes/qemu.ts';
import { IMAGE_DIR, imageUnderTest, ROOT } from '../image.ts';

// The image itself, whole, to AWS and Hetzner as we know them; what boots there are the bytes that reached them.

let home: string;
let image: string;
test.before(() => {
  home = mkdtempSync(join(cacheRoot(), 'publish-e2e-'));
  image = provenCopy(realpathSync(IMAGE_DIR), join(home, 'image'));
});
test.after.always(() => rmSync(home, { recursive: true, force: true }));

const { id, disk } = imageUnderTest();

async function publish(t: ExecutionContext, cloud: string, env: Record<string, string>) {
  const journals = join(home, `journals-${cloud}`);
  const words = ['build.ts', 'publish', '--cloud', cloud, '--image', image, '--yes', '--json'];
  const { stdout, stderr } = await run('node', words, {
    ...{ step: 'publish', cwd: ROOT },
    env: { ...env, CLAWDY_PUBLICATIONS: journals, XDG_STATE_HOME: join(home, 's') },
  });
  t.log(
    stderr
      .split('\n')
      .filter((line) => line.startsWith('✔'))
      .join('; '),
  );
  const result = JSON.parse(stdout) as PublishResult;
  t.like(result, { image: id, cloud });
  t.is(result.publications.length, 1);
  const [publication] = result.publications as [PublishResult['publications'][number]];
  t.log(JSON.stringify(publication));
  t.is(publication.bytes_total, disk.rawSize);
  t.true(publication.bytes_sent > 0 && publication.bytes_sent < disk.rawSize);
  return { publication, said: stdout + stderr };
}

test.serial('aws: the image goes there block by block, boots, and proves itself', async (t) => {
  const fake = await startFakeAws({ hypervisor: new QemuHypervisor(), dir: join(home, 'aws') });
  try {
    const { publication, said } = await publish(t, 'aws', fake.env);
    t.is(await fake.rawSha256(publication.region, publication.image_id, disk.rawSize), disk.rawSha256);
    t.deepEqual(
      fake
        .live()
        .map(({ kind }) => kind)
        .sort(),
      ['image', 'parameter', 'snapshot'],
    );
    const { secretAccessKey, sessionToken } = fake.credentials;
    for (const secret of [secretAccessKey, sessionToken ?? '']) t.false(said.includes(secret));
  } finally {
    await fake.close();
  }
});

const noLoop = whyNoLoop();
(noLoop ? test.serial.skip : test.serial)(
  `hetzner: the image is written from a rescue system, read back, boots, and proves itself over SSH${noLoop ? ` (not until 2027-02-28: ${noLoop})` : ''}`,
  async (t) => {
    const gigabyte = 1e9;
    const fake = await startFakeHetzner({ hypervisor: new QemuHypervisor(), imageDir: image, gigabyte });
    try {
      const { publication, said } = await publish(t, 'hetzner', fake.env);
      t.is(await fake.snapshotSha256(publication.image_id, disk.rawSize), disk.rawSha256);
      t.deepEqual(fake.live(), [`snapshot ${publication.image_id}`]);
      for (const secret of fake.secrets()) t.false(said.includes(secret));
    } finally {
      await fake.close();
    }
  },
);
