import test from 'ava';
import { BuildError } from '../../src/process/errors.ts';
import { Journal } from '../../src/publish/journal.ts';
import { publish, publishedOf } from '../../src/publish/publish.ts';
import { MemoryCloud } from '../fakes/memory-cloud.ts';
import { passing, published, Quiet, setting } from './publish-fixture.ts';

test.serial('published is: uploaded once, copied, booted everywhere, recorded, and the candidate', async (t) => {
  const { cloud, image, publish, states, journal } = setting();
  const result = await publish();
  t.is(result.cloud, 'memory');
  t.is(result.image, image.id);
  t.like(result.publications, [
    { region: 'one', image_id: `${image.id}-in-one`, bytes_sent: 10, bytes_total: 1 },
    { region: 'two', image_id: `${image.id}-in-two`, bytes_sent: 0 },
  ]);
  t.deepEqual(cloud.calls, [
    ...['one upload', 'one register', 'one boot', 'one prove', 'one channel candidate'],
    ...[`two copy ${image.id}-in-one`, 'two boot', 'two prove', 'two channel candidate'],
  ]);
  t.deepEqual(states(), ['one recorded', 'two recorded']);
  t.deepEqual(cloud.things, []);
  t.true(cloud.images.every(({ proven, channels }) => proven && channels.includes('candidate')));
  t.truthy(journal().find('memory', 'one')?.notes.snapshot);

  // Again: nothing is done but saying once more what the candidate is.
  const calls = cloud.calls.length;
  t.like((await publish()).publications, [{ bytes_sent: 0, seconds: 0 }, { bytes_sent: 0 }]);
  t.deepEqual(cloud.calls.slice(calls), ['one channel candidate', 'two channel candidate']);
});

test.serial(
  'an image that stays closed, says it is another, or can’t be told from a forgery is taken back',
  async (t) => {
    const faults: [Partial<MemoryCloud>, RegExp][] = [
      [{ console: 'clawdy: closed: selfcheck static: 03-ssh-config\n' }, /stays closed: selfcheck static/],
      [{ console: 'clawdy: image another-image, instance i\nclawdy: live ok\n' }, /says it is another-image/],
      [{ forged: true }, /it is forged/],
      [{ shownHostKey: `ssh-ed25519 ${'B'.repeat(68)}` }, /somebody stands in between/],
    ];
    for (const [fault, message] of faults) {
      const { cloud, publish, states } = setting();
      Object.assign(cloud, fault);
      await t.throwsAsync(publish(), { message });
      t.deepEqual([cloud.images, cloud.things], [[], []]);
      t.deepEqual(states(), ['one failed']);
    }
  },
);

test.serial('what fails on the way in is taken back, and the next run begins anew', async (t) => {
  const { cloud, publish, states } = setting();
  cloud.failing.set('one upload', passing());
  await t.throwsAsync(publish(), { message: 'a passing fault' });
  t.deepEqual([cloud.images, cloud.things], [[], []]);
  t.deepEqual(states(), ['one failed']);
  cloud.failing.clear();
  await publish();
  t.deepEqual(states(), ['one failed', 'one recorded', 'two recorded']);
});

test.serial('a box whose live checks never pass, or that says nothing, is taken back when patience ends', async (t) => {
  const patience = { pollMs: 5, bundleMs: 100, liveMs: 100 };
  for (const [console, message] of [
    ['clawdy: image IMAGE, instance i\nclawdy: almost live ok\n', /its sealed bundle didn't come/],
    ['', /its sealed bundle didn't come/],
    ['clawdy: image IMAGE, instance i\nSEALED\n', /its live checks didn't come/],
  ] as const) {
    const { cloud, inputs, states } = setting();
    cloud.console = console;
    await t.throwsAsync(publish({ ...inputs, patience }, new Quiet()), { message });
    t.deepEqual([cloud.images, cloud.things], [[], []]);
    t.deepEqual(states(), ['one failed']);
  }
});

test.serial(
  'only its own are taken back and swept: not another run’s, nor what is proven, named or in use',
  async (t) => {
    const { cloud, publish, image } = setting(new MemoryCloud('one'));
    const other = { ...published(image), run: 'another-run' };
    cloud.images.push({ ...other, image: 'debian-13-20260101T000000Z-00000000', imageId: 'other', proven: false });
    cloud.things.push({ region: 'one', kind: 'instance', id: 'i-other', run: 'another-run' });
    cloud.console = 'clawdy: closed: x\n';
    await t.throwsAsync(publish(), { message: /stays closed/ });
    t.deepEqual([cloud.images.length, cloud.things.length], [1, 1]);

    // A journal from a backup says it was never checked; the cloud knows better, and nothing is booted again.
    for (const fact of [{ proven: true }, { channels: ['latest' as const] }, { usedBy: ['i-1'] }]) {
      const later = setting(new MemoryCloud('one'));
      later.cloud.console = 'clawdy: closed: x\n';
      const journal = Journal.open(later.dir, publishedOf(later.image));
      const entry = journal.begin('memory', 'one', 'a-run');
      journal.update(entry, { state: 'registered', image_id: 'ami', snapshot_id: 'snap' });
      later.cloud.images.push({ ...published(later.image), run: 'a-run', imageId: 'ami', proven: false, ...fact });
      await later.publish().catch(() => {});
      t.is(later.cloud.images.length, 1);
      t.is(later.cloud.calls.includes('one boot'), !('proven' in fact));
    }
  },
);

test.serial('what can’t be taken back keeps its place in the journal', async (t) => {
  const { cloud, publish, states } = setting();
  cloud.failing.set('one upload', passing());
  cloud.failing.set('one sweep', new BuildError('memory', 'unreachable', ''));
  await t.throwsAsync(publish(), { message: 'a passing fault' });
  t.deepEqual(states(), ['one started']);
  t.is(cloud.things.length, 1);
});

test.serial('what somebody has proven while it was looked at stays, however the look ends', async (t) => {
  const { cloud, publish } = setting(new MemoryCloud('one'));
  cloud.console = 'clawdy: closed: x\n';
  const boot = cloud.boot.bind(cloud);
  cloud.boot = (...inputs) => {
    for (const image of cloud.images) image.proven = true;
    return boot(...inputs);
  };
  await t.throwsAsync(publish(), { message: /stays closed/ });
  t.is(cloud.images.length, 1);
});

test.serial(
  'what can’t be registered is taken back too; what was needed only for a while goes at the end',
  async (t) => {
    const { cloud, publish, states } = setting(new MemoryCloud('one'));
    cloud.failing.set('one register', passing());
    await t.throwsAsync(publish(), { message: 'a passing fault' });
    t.deepEqual([cloud.things, states()], [[], ['one failed']]);
    cloud.failing.clear();
    const prove = cloud.prove.bind(cloud);
    cloud.prove = async (region, image) => {
      const run = cloud.images[0]?.run as string;
      cloud.things.push({ region, kind: 'instance', id: 'left', run });
      return prove(region, image);
    };
    await publish();
    t.deepEqual(cloud.things, []);
  },
);

test.serial('an image that somebody was told of isn’t taken back, whichever entry it is looked at by', async (t) => {
  // As at Hetzner: one snapshot, in every location.
  const { cloud, image, inputs, dir } = setting(new MemoryCloud('one'));
  const journal = Journal.open(dir, publishedOf(image));
  const ids = { image_id: 'found', snapshot_id: 'snap' };
  journal.update(journal.begin('memory', 'two', 'a-run'), { state: 'recorded', recorded: image.created, ...ids });
  cloud.images.push({ ...published(image), run: 'a-run', proven: false });
  cloud.console = 'clawdy: almost live ok\n';
  const patience = { pollMs: 5, bundleMs: 50, liveMs: 50 };
  await t.throwsAsync(publish({ ...inputs, patience }, new Quiet()), { message: /bundle didn't come/ });
  t.is(cloud.images.length, 1);
});
