import anyTest from 'ava';
import { EXIT } from '../../src/process/errors.ts';
import type { Fault } from '../fakes/fake.ts';
import { fails, jobOf, openFake } from './hetzner-job.ts';
import {
  ask,
  fake,
  firewalls,
  image,
  killedEverywhere,
  launch,
  live,
  machines,
  openScene,
  rules,
  settled,
  USER_DATA,
  WEB,
  wanted,
} from './hetzner-launch.ts';

// Each primitive of launching, killed after every call that it makes: what the next one, or a sweep, makes of it; and what no
// sweep takes.

const test = anyTest.serial;
anyTest.beforeEach(openScene);
anyTest.afterEach.always(() => fake.close());

for (const again of [false, true])
  test(`start, killed after every call: a sweep leaves nothing${again ? ', also of the same start again' : ''}`, (t) =>
    killedEverywhere(
      t,
      async () => launch(),
      (job) => machines.start(job, wanted()),
      async (job, where) => {
        if (again) {
          t.is((await machines.start(job, wanted())).state, 'running', where);
          t.deepEqual(live(), ['server box', `firewall clawdy-${job.run}`], where);
        }
        await machines.sweep('fsn1', job.run);
        t.deepEqual(live(), [], where);
      },
    ));

test('a server whose creation failed after its start was killed is made anew', async (t) => {
  const job = launch();
  fake.failAction = (name) => (name === 'create_server' ? { code: 'server_error', message: 'no' } : undefined);
  let calls = 0;
  fake.fault = (name): Fault | undefined => {
    if (calls > 0) return { kind: 'error', status: 401, code: 'unauthorized', message: 'killed' };
    if (name !== 'POST /servers') return undefined;
    calls++;
    return { kind: 'reset', after: true };
  };
  await fails(t, fake, machines.start(job, wanted()));
  fake.fault = undefined;
  const [broken] = (await ask('GET', '/servers')).servers;
  await settled(broken.id);
  fake.failAction = undefined;
  const machine = await machines.start(job, wanted());
  t.not(machine.instanceId, String(broken.id));
  t.deepEqual([machine.state, live().length], ['running', 2]);
});

test('open, killed after every call, is finished by the next', async (t) => {
  const job = launch();
  const { instanceId } = await machines.start(job, wanted());
  await killedEverywhere(
    t,
    () => machines.open('fsn1', instanceId, []),
    () => machines.open('fsn1', instanceId, [WEB]),
    async (_, where) => {
      await machines.open('fsn1', instanceId, [WEB]);
      t.like(await rules(job.run), [{ port: '443' }], where);
    },
  );
});

test('keep, killed after every call, is finished by the next; a sweep in between takes all or nothing', (t) =>
  killedEverywhere(
    t,
    async () => {
      const job = launch();
      return { job, ...(await machines.start(job, wanted())) };
    },
    ({ instanceId }) => machines.keep('fsn1', instanceId),
    async ({ job, instanceId }, where) => {
      await machines.sweep('fsn1', job.run);
      if (!(await machines.machine('fsn1', instanceId))) return void t.deepEqual(live(), [], where);
      await machines.keep('fsn1', instanceId);
      t.is((await firewalls(`clawdy-run==${job.run},!clawdy-temporary`)).length, 1, where);
      await machines.destroy('fsn1', instanceId);
    },
  ));

for (const finish of ['destroy', 'sweep'] as const)
  test(`destroy, killed after every call, is finished by the next ${finish}`, (t) =>
    killedEverywhere(
      t,
      async () => {
        const job = launch();
        const { instanceId } = await machines.start(job, wanted());
        await machines.keep('fsn1', instanceId);
        return { job, instanceId };
      },
      ({ instanceId }) => machines.destroy('fsn1', instanceId),
      async ({ job, instanceId }, where) => {
        // Killed before it changed anything, it is a kept machine still, and no sweep's.
        const kept = (await machines.machine('fsn1', instanceId))?.temporary === false;
        if (kept) t.deepEqual(await firewalls('clawdy-temporary'), [], where);
        if (finish === 'sweep') await machines.sweep('fsn1', job.run);
        if (finish === 'sweep') t.is(live().length, kept ? 2 : 0, where);
        if (finish === 'destroy' || kept) await machines.destroy('fsn1', instanceId);
        t.deepEqual(live(), [], where);
      },
    ));

test('a sweep leaves other runs, kept machines and probes; publishing’s sweep leaves launches', async (t) => {
  const [kept, passing, swept] = [launch(), launch(), launch()];
  const { instanceId } = await machines.start(kept, wanted({ name: 'kept' }));
  await machines.keep('fsn1', instanceId);
  await machines.start(passing, wanted({ name: 'passing' }));
  await machines.start(swept, wanted({ name: 'swept' }));
  const cloud = await openFake(fake);
  const disk = { path: '', size: 1, blocks: {}, rawSha256: 'd1', remove: () => {} };
  const probe = jobOf(disk, { run: swept.run });
  await cloud.boot(probe, image, { userData: USER_DATA, sshKey: '', work: '' });
  const others = [
    ...['kept', 'passing'].map((name) => `server ${name}`),
    `server clawdy-${swept.run}-probe`,
    ...[kept, passing].map(({ run }) => `firewall clawdy-${run}`),
  ];
  await machines.sweep('fsn1', swept.run);
  t.deepEqual(live(), others);
  await machines.sweep('fsn1', 'nobodys');
  for (const run of ['', 'x,clawdy-owner', 'a)'])
    t.is((await fails(t, fake, machines.sweep('fsn1', run))).exitCode, EXIT.input);
  t.deepEqual(live(), others);

  const orphans = await cloud.orphans('fsn1');
  t.deepEqual(
    orphans.map(({ kind, run }) => `${kind} ${run}`),
    [`server ${swept.run}`],
  );
  t.deepEqual(
    (await cloud.list('fsn1'))[0]?.usedBy,
    ['server kept', 'server passing'],
    'what is launched needs its image',
  );
  for (const orphan of orphans) await cloud.removeOrphan(orphan);
  t.is(live().length, 4);
  t.deepEqual(
    (await machines.list('fsn1')).map(({ temporary }) => temporary),
    [false, true],
  );
});
