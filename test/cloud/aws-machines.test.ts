/** Machines that stay, on AWS: what is started, how, and what goes with it. */
import { existsSync } from 'node:fs';
import { EC2Client, RunInstancesCommand } from '@aws-sdk/client-ec2';
import test from 'ava';
import { LABELS } from '../../src/clouds/cloud.ts';
import { BuildError, EXIT } from '../../src/process/errors.ts';
import { disk, fakeAws, jobOf, openCloud, probeInputs, publish, REGION, seeded } from './aws-fixture.ts';
import { group, instance, launchJob, left, letIn, opened, published, startOf } from './aws-launch-fixture.ts';

test.serial(
  'a machine starts behind a closed group of its own, with tokens for metadata, one hop, no role',
  async (t) => {
    const fake = await fakeAws(t);
    const image = await published(t);
    const machines = await opened(t);
    t.deepEqual([machines.name, machines.region], ['aws', REGION]);
    const job = launchJob();
    const made = await machines.start(job, startOf(image));
    t.like(made, { region: REGION, state: 'running', image: image.image, run: job.run, temporary: true });
    const box = instance(fake, made.instanceId);
    t.is(made.address, box.address);
    t.truthy(made.address);
    t.like(box.asked, {
      MetadataOptions: { HttpEndpoint: 'enabled', HttpTokens: 'required', HttpPutResponseHopLimit: 1 },
      InstanceInitiatedShutdownBehavior: 'stop',
      InstanceType: 't3.small',
      IamInstanceProfile: undefined,
      KeyName: undefined,
      NetworkInterfaces: undefined,
    });
    t.true(box.deletesDisk);
    t.deepEqual(box.groups, [group(fake, job.run).id]);
    t.deepEqual(letIn(fake, job.run), []);
    const labels = {
      'clawdy-owner': 'clawdy-image',
      'clawdy-run': job.run,
      'clawdy-image': image.image,
      'clawdy-base': 'debian-13',
      'clawdy-digest': image.digest,
      'clawdy-launched': 'yes',
      'clawdy-temporary': 'yes',
      Name: 'claw-1',
    };
    for (const tags of [box.tags, box.volumeTags, group(fake, job.run).tags])
      t.deepEqual(Object.fromEntries(tags), labels);
    t.is(fake.calls.indexOf('CreateSecurityGroup') < fake.calls.indexOf('RunInstances'), true);

    t.deepEqual(await machines.start(job, startOf(image)), made, 'the same run gets the same machine');
    t.deepEqual(left(fake), ['instance', 'security-group']);
    t.deepEqual(await machines.list(REGION), [made]);
    t.deepEqual(await machines.machine(REGION, made.instanceId), made);
    const head = seeded(0).subarray(0, 16).toString('hex');
    t.is(await machines.console?.(REGION, made.instanceId), `instance ${made.instanceId}, disk ${head}\n`);
    const elsewhere = { ...launchJob(), region: 'us-east-1' };
    t.is(
      (await t.throwsAsync(machines.start(elsewhere, startOf(image)), { instanceOf: BuildError })).exitCode,
      EXIT.input,
    );
  },
);

test.serial(
  'a zone without a type gives another, unless one was named; what AWS has not is an error of input',
  async (t) => {
    const fake = await fakeAws(t);
    const image = await published(t);
    const machines = await opened(t);
    fake.behaviour.noCapacity = new Set(['t3.small', 't3a.small']);
    const job = launchJob();
    const made = await machines.start(job, startOf(image));
    t.is(instance(fake, made.instanceId).type, 't3.medium');
    fake.behaviour.noCapacity = new Set(['t3.small']);
    t.is((await machines.start(job, startOf(image))).instanceId, made.instanceId, 'though there is a cheaper one now');
    const named = launchJob();
    const none = machines.start(named, startOf(image, { size: 't3.small' }));
    t.regex((await t.throwsAsync(none, { instanceOf: BuildError, message: /no capacity/ })).hint, /another size/);
    const other = await machines.start(launchJob(), startOf(image, { size: 'c7i.large' }));
    t.is(instance(fake, other.instanceId).type, 'c7i.large');
    const wrong = machines.start(named, startOf(image, { size: 'cx22' }));
    t.is((await t.throwsAsync(wrong, { instanceOf: BuildError, message: /cx22/ })).exitCode, EXIT.input);
    await machines.sweep(REGION, named.run);
    t.falsy(group(fake, named.run));
  },
);

test.serial('a run that was swept starts anew; a machine that ended by itself is told, not waited for', async (t) => {
  const fake = await fakeAws(t);
  const image = await published(t);
  const machines = await opened(t);
  const job = launchJob();
  const first = await machines.start(job, startOf(image));
  await machines.sweep(REGION, job.run);
  const second = await machines.start(job, startOf(image, { userData: 'another token' }));
  t.not(second.instanceId, first.instanceId);
  instance(fake, second.instanceId).state = 'terminated';
  await t.throwsAsync(machines.start(job, startOf(image, { userData: 'another token' })), {
    instanceOf: BuildError,
    message: /is terminated/,
  });
  await t.throwsAsync(async () => machines.console?.(REGION, second.instanceId), { message: /is terminated/ });
  await machines.sweep(REGION, job.run);
  t.deepEqual(left(fake), []);
});

test.serial(
  'what is kept stays, whoever sweeps; a sweep is of one run alone; destroying takes all of a machine',
  async (t) => {
    const fake = await fakeAws(t);
    const image = await published(t);
    const machines = await opened(t);
    const [kept, other, swept] = [launchJob(), launchJob(), launchJob()];
    const stays = await machines.start(kept, startOf(image));
    const onItsWay = await machines.start(other, startOf(image));
    await machines.start(swept, startOf(image));
    await machines.keep(REGION, stays.instanceId);
    await machines.keep(REGION, stays.instanceId);
    const box = instance(fake, stays.instanceId);
    for (const tags of [box.tags, box.volumeTags, group(fake, kept.run).tags]) t.false(tags.has(LABELS.temporary));
    for (const { run } of [kept, swept, swept, launchJob()]) await machines.sweep(REGION, run);
    t.deepEqual(
      (await machines.list(REGION)).map(({ instanceId, temporary }) => [instanceId, temporary]),
      [
        [stays.instanceId, false],
        [onItsWay.instanceId, true],
      ],
    );
    t.deepEqual([group(fake, kept.run)?.ingress, group(fake, swept.run)], [[], undefined]);

    // The interface of a machine goes after it.
    fake.behaviour.interfaceLingers = 3;
    await machines.destroy(REGION, stays.instanceId);
    await machines.destroy(REGION, stays.instanceId);
    t.is(await machines.machine(REGION, stays.instanceId), undefined);
    t.false(existsSync(box.disk));
    t.deepEqual((await machines.list(REGION)).length, 1);
    t.falsy(group(fake, kept.run));
    fake.behaviour.interfaceLingers = Number.POSITIVE_INFINITY;
    const hasty = await opened(t, { instance: 100 });
    await t.throwsAsync(hasty.destroy(REGION, onItsWay.instanceId), { instanceOf: BuildError, message: /not done/ });
    fake.behaviour.interfaceLingers = 0;
    // AWS has taken the labels of the machine away meanwhile.
    instance(fake, onItsWay.instanceId).tags.clear();
    await machines.destroy(REGION, onItsWay.instanceId);
    t.deepEqual(left(fake), ['security-group']);
    await machines.sweep(REGION, other.run);
    t.deepEqual(left(fake), []);
    await machines.destroy(REGION, 'i-00000000000000000');
    await t.throwsAsync(machines.keep(REGION, stays.instanceId), { instanceOf: BuildError, message: /is gone/ });
  },
);

test.serial('publishing leaves launched machines alone, and launching its probes', async (t) => {
  const fake = await fakeAws(t);
  const image = await published(t);
  const cloud = await openCloud(t);
  const machines = await opened(t);
  const job = jobOf(await disk(), { image: 'debian-13-other' });
  const registered = await publish(cloud, job);
  const probe = await cloud.boot(job, registered, probeInputs());
  const made = await machines.start(launchJob(job.run), startOf(image));
  t.deepEqual(
    (await cloud.orphans(REGION)).map(({ id }) => id),
    [probe.instanceId],
  );
  t.regex(
    (await cloud.list(REGION)).find(({ imageId }) => imageId === image.imageId)?.usedBy.join() ?? '',
    /:instance\//,
  );
  const again = await cloud.boot(job, registered, probeInputs());
  t.is(instance(fake, probe.instanceId).state, 'terminated');
  t.is(instance(fake, made.instanceId).state, 'running');
  await machines.sweep(REGION, job.run);
  t.deepEqual(
    [instance(fake, made.instanceId).state, instance(fake, again.instanceId).state],
    ['terminated', 'pending'],
  );
  t.deepEqual(left(fake), ['instance']);
});

test.serial("others' machines are none of ours", async (t) => {
  const fake = await fakeAws(t);
  const image = await published(t);
  const machines = await opened(t);
  const client = new EC2Client({});
  t.teardown(() => client.destroy());
  const { Instances } = await client.send(
    new RunInstancesCommand({ ImageId: image.imageId, InstanceType: 't3.small', MinCount: 1, MaxCount: 1 }),
  );
  const id = Instances?.[0]?.InstanceId as string;
  t.is(await machines.machine(REGION, id), undefined);
  t.deepEqual(await machines.list(REGION), []);
  const wrong = await t.throwsAsync(machines.destroy(REGION, id), { instanceOf: BuildError });
  t.is(wrong.exitCode, EXIT.input);
  for (const call of [machines.keep(REGION, id), machines.power(REGION, id, false), machines.open(REGION, id, [])])
    await t.throwsAsync(call, { instanceOf: BuildError });
  t.is(instance(fake, id).state, 'running');
});
