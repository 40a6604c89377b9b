import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import type { CloudImage } from '../../src/clouds/cloud.ts';
import { chooseImage } from '../../src/launch/choose.ts';
import { type Front, openingsOf, readFront } from '../../src/launch/front.ts';
import { type HostedLaunch, launchHosted, type Outside } from '../../src/launch/hosted.ts';
import { cutLaunches, settleLaunches } from '../../src/launch/journal.ts';
import { launchesDir } from '../../src/launch/places.ts';
import { listRecords } from '../../src/launch/records.ts';
import { BuildError } from '../../src/process/errors.ts';
import { Progress } from '../../src/process/progress.ts';
import { abandonLaunches } from '../fakes/abandoned.ts';
import { Killed, MemoryMachines, World } from '../fakes/memory-machines.ts';

const work = mkdtempSync(join(tmpdir(), 'clawdy-hosted-'));
process.env.XDG_STATE_HOME = join(work, 'state');
process.env.XDG_CONFIG_HOME = join(work, 'config');
test.after.always(() => rmSync(work, { recursive: true, force: true }));

const IMAGE: CloudImage = {
  ...{ region: 'here', imageId: 'ami-1', snapshotId: 'snap-1', image: 'debian-13-20261128T000000Z-0000000a' },
  ...{ base: 'debian-13', digest: '0'.repeat(32), run: 'r', created: '2026-11-28T00:00:00.000Z', proven: true },
  ...{ channels: ['latest'], usedBy: [] },
};
const FRONT: Front = {
  ...{ mode: 'direct', hosts: ['alice.example.com'], users: ['alice@example.com'] },
  direct: { clientCa: ['A'.repeat(64)], sources: ['192.0.2.77', '2001:db8::/48'] },
};
const LAUNCH: HostedLaunch = {
  ...{ image: IMAGE, front: FRONT, size: undefined, learning: { by: 'console' }, wait: true },
  keys: { userKeys: [`ssh-ed25519 ${'A'.repeat(68)}`], privateFile: undefined },
};

interface Scene {
  world: World;
  machines: MemoryMachines;
  outside: Outside;
  /** What is listening at the box's port. */
  shown: { hostKey: string };
}

function scene(): Scene {
  rmSync(join(work, 'state'), { recursive: true, force: true });
  const world = new World();
  const machines = new MemoryMachines(world);
  machines.imageId = IMAGE.image;
  const shown = { hostKey: machines.hostKey };
  const outside: Outside = {
    checkHostKey: (_address, _port, hostKey) =>
      world.call('host key', () => {
        if (hostKey !== shown.hostKey) throw new BuildError('host key', 'shows another host key', '');
      }),
    byChannel: () => ({ heard: async () => '', close: () => {} }),
    isLive: () => world.call('live', () => true),
  };
  return { world, machines, outside, shown };
}

const launch = ({ machines, outside }: Scene, more: Partial<HostedLaunch> = {}) =>
  launchHosted(machines, { ...LAUNCH, ...more }, outside, new Progress());

test.serial(
  'a launch ends with a record, a firewall that lets in what layer 05 does, and nothing temporary',
  async (t) => {
    const one = scene();
    const record = await launch(one);
    t.like(record, {
      cloud: 'aws',
      region: 'here',
      image_id: IMAGE.image,
      address: '192.0.2.1',
      user: 'alice@example.com',
    });
    const [machine] = one.machines.machines;
    t.false(machine?.temporary);
    t.deepEqual(machine?.openings, [
      { port: record.ssh.port, sources: ['0.0.0.0/0', '::/0'] },
      { port: 443, sources: ['192.0.2.77/32', '2001:db8::/48'] },
    ]);
    // Closed until the bundle was believed: nothing was let in before that.
    t.deepEqual(one.world.calls, ['firewall', 'start', 'console', 'open', 'host key', 'live', 'keep']);
    t.deepEqual(listRecords().records, [record]);
    t.deepEqual(cutLaunches(), { cut: [], unreadable: [] });
    t.is(readdirSync(launchesDir()).length, 0);
  },
);

test.serial(
  'neither token nor code is anywhere in what a launch keeps; the user-data has no secret but the token',
  async (t) => {
    const one = scene();
    await launch(one);
    const { userData } = one.machines.machines[0] as { userData: string };
    const token = /token\\":\\"([\w-]{43})/.exec(userData)?.[1] as string;
    t.truthy(token);
    const kept = readdirSync(join(work, 'state'), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => readFileSync(join(parentPath, name), 'utf8'))
      .join('\n');
    t.true(kept.includes('"host_key"'), 'control: the record is among it');
    for (const secret of [token, 'the-code-that-nobody-may-ever-read-anywhere', 'AGE-SECRET-KEY', 'PRIVATE KEY']) {
      t.false(kept.includes(secret), secret.slice(0, 8));
      if (secret !== token) t.false(userData.includes(secret));
    }
  },
);

for (const [what, spoil] of [
  [
    'its bundle is forged',
    ({ machines }: Scene) => {
      machines.forged = true;
    },
  ],
  [
    'it is another image',
    ({ machines }: Scene) => {
      machines.imageId = 'debian-13-20261127T000000Z-0000000b';
    },
  ],
  [
    'its port shows another host key',
    ({ shown }: Scene) => {
      shown.hostKey = 'ssh-ed25519 B';
    },
  ],
  [
    'it closes itself',
    ({ outside }: Scene) => {
      outside.isLive = async () => {
        throw new BuildError('launch', 'the instance stays closed', '');
      };
    },
  ],
] as const)
  test.serial(`a launch fails and leaves nothing: ${what}`, async (t) => {
    const one = scene();
    spoil(one);
    await t.throwsAsync(launch(one), { instanceOf: BuildError });
    t.deepEqual([one.machines.machines, [...one.machines.firewalls], listRecords().records], [[], [], []]);
    t.is(readdirSync(launchesDir()).length, 0);
  });

test.serial('killed after any call, nothing is left but what has a record, and that one is whole', async (t) => {
  const whole = scene();
  await launch(whole);
  const places = [...whole.world.calls.keys()];
  t.true(places.length > 6);
  let kept = 0;
  for (const at of places) {
    const one = scene();
    one.world.revive(at);
    await t.throwsAsync(launch(one), { instanceOf: Killed }, `after call ${at}`);
    t.is(abandonLaunches(), 1, `after ${whole.world.calls[at]} it is noted`);
    one.world.revive();
    t.is((await settleLaunches(async () => one.machines)).length, 1);
    const { records } = listRecords();
    t.deepEqual(
      one.machines.machines.map(({ instanceId, temporary }) => [instanceId, temporary]),
      records.map(({ instance_id }) => [instance_id, false]),
      `after ${whole.world.calls[at]}`,
    );
    t.is(one.machines.firewalls.size, records.length);
    t.deepEqual(cutLaunches(), { cut: [], unreadable: [] });
    kept += records.length;
  }
  t.is(kept, 1, 'only the last call comes after the record');
});

test.serial('a launch that still runs isn’t cleared up by another command', async (t) => {
  const one = scene();
  const started = one.machines.start.bind(one.machines);
  let settled: string[] | undefined;
  one.machines.start = async (job, start) => {
    const machine = await started(job, start);
    settled = await settleLaunches(async () => one.machines);
    return machine;
  };
  await launch(one);
  t.deepEqual(settled, []);
});

test('an image is chosen by channel, by our ID and by the cloud’s; never one that isn’t proven, or is deprecated', async (t) => {
  const other = { ...IMAGE, imageId: 'ami-2', image: 'ubuntu-24.04-20261128T000000Z-0000000b', base: 'ubuntu-24.04' };
  const images = [
    IMAGE,
    other,
    { ...IMAGE, imageId: 'ami-3', image: 'debian-13-20261129T000000Z-0000000c', channels: [], proven: false },
    {
      ...IMAGE,
      imageId: 'ami-4',
      image: 'debian-13-20261101T000000Z-0000000d',
      channels: [],
      deprecated: '2026-11-20T00:00:00.000Z',
    },
  ] as CloudImage[];
  const choose = (wanted: string, base?: string) =>
    chooseImage({ name: 'aws', list: async () => images }, 'here', wanted, base);
  t.is((await choose('latest', 'debian-13')).imageId, 'ami-1');
  t.is((await choose(other.image)).imageId, 'ami-2');
  t.is((await choose('ami-2')).imageId, 'ami-2');
  await t.throwsAsync(choose('latest'), { message: /several bases/ });
  await t.throwsAsync(choose('previous', 'debian-13'), { message: /no channel previous of debian-13/ });
  await t.throwsAsync(choose('ami-3'), { message: /never booted/ });
  await t.throwsAsync(choose('ami-4'), { message: /deprecated/ });
  await t.throwsAsync(choose('ami-9'), { message: /no image ami-9/ });
});

test('a front file is closed; a cloud’s firewall follows its mode', (t) => {
  const file = join(work, 'front.json');
  const read = (document: unknown) => {
    writeFileSync(file, typeof document === 'string' ? document : JSON.stringify(document));
    return readFront(file);
  };
  t.deepEqual(read(FRONT), FRONT);
  t.throws(() => read('{'), { message: /isn't JSON/ });
  t.throws(() => read({ ...FRONT, token: 'x' }), { message: /token/ });
  t.throws(() => read({ ...FRONT, direct: undefined }), { message: /mode direct/ });
  t.throws(() => read({ ...FRONT, enrolmentUrl: 'http://plain.example.com/' }));
  t.throws(() => readFront(join(work, 'nowhere')), { message: /can't be read/ });
  const ports = (mode: Front['mode']) => openingsOf({ mode }, 20_001).map(({ port }) => port);
  t.deepEqual(
    [ports('tunnel'), ports('cloudflare'), openingsOf(undefined, 20_001).length],
    [[20_001], [20_001, 443], 1],
  );
  const sources = openingsOf({ mode: 'cloudflare' }, 20_001)[1]?.sources as string[];
  t.true(sources.length > 10 && sources.includes('173.245.48.0/20') && sources.every((one) => one.includes('/')));
});
