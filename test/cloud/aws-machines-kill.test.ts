/** Whoever launches dies after each call in turn, or doesn't hear of it: the next one ends what was begun. */
import test from 'ava';
import type { Fault } from '../fakes/fake.ts';
import { fakeAws, REGION } from './aws-fixture.ts';
import { dying, group, instance, launchJob, left, letIn, opened, published, startOf } from './aws-launch-fixture.ts';

const OPEN = [{ port: 443, sources: ['192.0.2.0/24', '198.51.100.0/24'] }];
const STAYS = 'tcp 443 198.51.100.0/24';

test.serial('a start that died after any call is swept whole, or is gone on with', async (t) => {
  const fake = await fakeAws(t);
  const image = await published(t);
  const machines = await opened(t);
  const died = await dying(
    t,
    fake,
    async () => launchJob(),
    (dead, job) => dead.start(job, startOf(image)),
    async ({ run }, where) => {
      await machines.sweep(REGION, run);
      t.deepEqual(left(fake), [], where);
    },
  );
  t.true(died.includes('CreateSecurityGroup') && died.includes('RunInstances'), died.join());
  await dying(
    t,
    fake,
    async () => launchJob(),
    (dead, job) => dead.start(job, startOf(image)),
    async (job, where) => {
      await machines.start(job, startOf(image));
      t.deepEqual(left(fake), ['instance', 'security-group'], where);
      await machines.sweep(REGION, job.run);
    },
  );
});

test.serial('a machine that AWS does not list yet is swept with its group', async (t) => {
  const fake = await fakeAws(t);
  const image = await published(t);
  const machines = await opened(t);
  const job = launchJob();
  const { instanceId } = await machines.start(job, startOf(image));
  const box = instance(fake, instanceId);
  const { tags } = box;
  box.tags = new Map();
  fake.onCall = (name) => void (name === 'DeleteSecurityGroup' && Object.assign(box, { tags }));
  await machines.sweep(REGION, job.run);
  t.deepEqual(left(fake), []);
});

test.serial('what died while opening, keeping, destroying or sweeping is finished by the next', async (t) => {
  const fake = await fakeAws(t);
  const image = await published(t);
  const machines = await opened(t);
  const prepare = async () => {
    const job = launchJob();
    const { instanceId } = await machines.start(job, startOf(image));
    await machines.open(REGION, instanceId, [{ port: 443, sources: ['198.51.100.0/24', '203.0.113.0/24'] }]);
    return { ...job, id: instanceId };
  };

  const opening = await dying(
    t,
    fake,
    prepare,
    (dead, { id }) => dead.open(REGION, id, OPEN),
    async ({ id, run }, where) => {
      t.true(letIn(fake, run).includes(STAYS), where);
      await machines.open(REGION, id, OPEN);
      t.deepEqual(letIn(fake, run), ['tcp 443 192.0.2.0/24', STAYS], where);
      await machines.sweep(REGION, run);
    },
  );
  t.true(opening.includes('RevokeSecurityGroupIngress'), opening.join());

  await dying(
    t,
    fake,
    prepare,
    (dead, { id }) => dead.keep(REGION, id),
    async ({ id, run }, where) => {
      const tags = [instance(fake, id).tags, instance(fake, id).volumeTags, group(fake, run).tags];
      t.is(new Set(tags.map((some) => some.has('clawdy-temporary'))).size, 1, where);
      await machines.keep(REGION, id);
      await machines.sweep(REGION, run);
      t.deepEqual(left(fake), ['instance', 'security-group'], where);
      await machines.destroy(REGION, id);
    },
  );

  const keptOne = async () => {
    const scene = await prepare();
    await machines.keep(REGION, scene.id);
    return scene;
  };
  for (const finish of ['destroy', 'sweep'] as const) {
    const destroying = await dying(
      t,
      fake,
      keptOne,
      (dead, { id }) => dead.destroy(REGION, id),
      async ({ id, run }, where) => {
        const isBegun = instance(fake, id).state !== 'running';
        await (finish === 'destroy' ? machines.destroy(REGION, id) : machines.sweep(REGION, run));
        t.deepEqual(left(fake), finish === 'destroy' || isBegun ? [] : ['instance', 'security-group'], where);
        await machines.destroy(REGION, id);
      },
    );
    t.true(destroying.includes('TerminateInstances') && destroying.includes('DeleteSecurityGroup'));
  }

  const sweeping = await dying(
    t,
    fake,
    prepare,
    (dead, { run }) => dead.sweep(REGION, run),
    async ({ run }, where) => {
      await machines.sweep(REGION, run);
      t.deepEqual(left(fake), [], where);
    },
  );
  t.true(sweeping.includes('DeleteSecurityGroup'));
});

const lost: Record<string, Fault> = {
  'its answer is lost': { kind: 'reset', after: true },
  'it is throttled': { kind: 'error', status: 503, code: 'RequestLimitExceeded', message: 'Rate exceeded' },
};

for (const [what, fault] of Object.entries(lost))
  test.serial(`a launch, a change and an end are whole though at the first of each call ${what}`, async (t) => {
    const fake = await fakeAws(t);
    const image = await published(t);
    const machines = await opened(t);
    const seen = new Set<string>();
    fake.fault = (name) => {
      if (seen.has(name)) return undefined;
      seen.add(name);
      return fault;
    };
    const job = launchJob();
    const { instanceId } = await machines.start(job, startOf(image));
    await machines.open(REGION, instanceId, OPEN);
    await machines.keep(REGION, instanceId);
    await machines.power(REGION, instanceId, false);
    await machines.power(REGION, instanceId, true);
    t.deepEqual(left(fake), ['instance', 'security-group']);
    t.is(letIn(fake, job.run).length, 2);
    await machines.open(REGION, instanceId, []);
    await machines.destroy(REGION, instanceId);
    t.deepEqual(left(fake), []);
    t.is(seen.size, 11, [...seen].join());
  });
