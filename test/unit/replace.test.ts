import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { replacementsDir } from '../../src/launch/places.ts';
import { listRecords, readRecord, writeRecord } from '../../src/launch/records.ts';
import { BuildError } from '../../src/process/errors.ts';
import { Progress } from '../../src/process/progress.ts';
import { cutReplacements, isCurrent, refuseAmidst } from '../../src/replace/current.ts';
import { baseOf } from '../../src/replace/hands.ts';
import { replaceInstance } from '../../src/replace/replace.ts';
import { Fleet } from '../fakes/fleet.ts';
import { Killed } from '../fakes/memory-machines.ts';
import { RECORD } from './launch-fixture.ts';

const work = mkdtempSync(join(tmpdir(), 'clawdy-replace-'));
process.env.XDG_STATE_HOME = work;
test.after.always(() => rmSync(work, { recursive: true, force: true }));

const noted = () => (existsSync(replacementsDir()) ? readdirSync(replacementsDir()) : []);
const ids = () =>
  listRecords()
    .records.map(({ instance_id }) => instance_id)
    .sort();

test.serial('the new one has owner, slug, home and a key of its own; the old one is switched off', async (t) => {
  const fleet = new Fleet(work);
  const replaced = await fleet.replace();
  t.like(replaced, { old: 'old', next: 'new-1', key: true });
  t.deepEqual(fleet.boxes.get('new-1'), { on: true, serves: true, home: 'work and skills', key: true });
  t.deepEqual(fleet.boxes.get('old'), { on: false, serves: false, home: 'work and skills', key: false });
  t.deepEqual([fleet.edge, fleet.proxy], ['new-1', 'new-1']);
  t.is(readRecord('new-1').replaces, 'old');
  t.deepEqual(noted(), []);
  // Its OpenClaw ends no sooner than the new one is there, and the slug moves last.
  const inOrder = ['prepare', 'launch', 'end OpenClaw', 'move', 'key', 'check', 'edge.yaml', 'push', 'retire', 'stop'];
  t.deepEqual(fleet.world.calls, inOrder);
  await t.throwsAsync(fleet.replace(), { message: /was replaced by new-1/ });
});

test.serial(
  'of a suspect one documents alone are carried, also where that was said only to a run that was cut',
  async (t) => {
    const fleet = new Fleet(work);
    await fleet.replace(true);
    t.is(fleet.boxes.get('new-1')?.home, 'work');
    const cut = new Fleet(work);
    cut.world.revive(3);
    await t.throwsAsync(cut.replace(true), { instanceOf: Killed });
    cut.world.revive();
    const { next } = await cut.replace();
    t.is(cut.boxes.get(next)?.home, 'work');
  },
);

test.serial(
  'whatever fails, the old one goes on and nothing is left of the new one; one that wasn’t touched isn’t rebooted',
  async (t) => {
    for (const broken of ['prepare', 'launch', 'end OpenClaw', 'move', 'key', 'check']) {
      const fleet = new Fleet(work);
      fleet.broken = broken;
      await t.throwsAsync(fleet.replace(), { message: `${broken} fails` });
      t.deepEqual([ids(), [...fleet.boxes.keys()], noted()], [['old'], ['old'], []], broken);
      t.true(fleet.serves, broken);
      t.is(fleet.world.calls.includes('revive'), !['prepare', 'launch'].includes(broken), broken);
    }
  },
);

test.serial('an old one that can’t be revived leaves no machine that nobody asked for', async (t) => {
  for (const also of ['revive', 'retire']) {
    const fleet = new Fleet(work);
    const { check } = fleet.hands;
    fleet.hands.check = async (record) => {
      await check(record);
      fleet.broken = also;
      throw new BuildError('fleet', 'check fails', '');
    };
    await t.throwsAsync(fleet.replace(), { message: 'check fails' });
    t.deepEqual([ids(), [...fleet.boxes.keys()], noted()], [['old'], ['old'], []], also);
  }
});

test.serial(
  'killed after any call and begun again, the owner has an instance that works, and nobody is left over',
  async (t) => {
    const whole = new Fleet(work);
    await whole.replace();
    for (const [at, name] of whole.world.calls.entries()) {
      const fleet = new Fleet(work);
      fleet.world.revive(at);
      await t.throwsAsync(fleet.replace(), { instanceOf: Killed }, name);
      // Before anybody calls again someone has the whole home, on a machine that is on. OpenClaw is away between its end and the push.
      t.true(
        [...fleet.boxes.values()].some(({ on, home }) => on && home === 'work and skills'),
        name,
      );
      t.is(fleet.serves, !['end OpenClaw', 'move', 'key', 'check', 'edge.yaml'].includes(name), name);
      fleet.world.revive();
      const { next } =
        at === whole.world.calls.length - 1
          ? await fleet.replace().catch(() => ({ next: 'new-1' }))
          : await fleet.replace();
      t.deepEqual([fleet.proxy, fleet.edge, fleet.serves], [next, next, true], name);
      t.deepEqual(ids(), [next, 'old'].sort(), name);
      t.deepEqual([...fleet.boxes.keys()].sort(), [next, 'old'].sort(), name);
      t.is(fleet.boxes.get(next)?.home, 'work and skills', name);
      t.deepEqual(noted(), [], name);
    }
  },
);

test.serial('killed while it takes back what failed, the same command goes on with that', async (t) => {
  const whole = new Fleet(work);
  whole.broken = 'check';
  await t.throwsAsync(whole.replace());
  for (const [at, name] of whole.world.calls.entries()) {
    const fleet = new Fleet(work);
    fleet.broken = 'check';
    fleet.world.revive(at);
    await t.throwsAsync(fleet.replace(), undefined, name);
    fleet.broken = undefined;
    fleet.world.revive();
    const { next } = await fleet.replace();
    t.deepEqual([fleet.serves, ids(), noted()], [true, [next, 'old'].sort(), []], name);
  }
});

test.serial(
  'a proxy that isn’t reached, or a gate that doesn’t answer there: the old one’s key stays until the same command gets through',
  async (t) => {
    const fleet = new Fleet(work);
    fleet.broken = 'push';
    await t.throwsAsync(fleet.replace(), { message: 'push fails' });
    await t.throwsAsync(fleet.replace(), { message: 'push fails' });
    t.deepEqual([fleet.proxy, fleet.boxes.get('old')?.key], ['old', true]);
    fleet.broken = undefined;
    t.is((await fleet.replace()).next, 'new-1');
    t.deepEqual([fleet.proxy, fleet.serves, fleet.boxes.size], ['new-1', true, 2]);
  },
);

test.serial(
  'a rollback brings back the one before, with a key; killed after any call, the same command ends it',
  async (t) => {
    const whole = new Fleet(work);
    await whole.replace();
    whole.world.revive();
    t.like(await whole.back('new-1'), { old: 'new-1', next: 'old', key: true });
    const calls = [...whole.world.calls];
    t.deepEqual(calls, ['revive', 'check', 'key', 'edge.yaml', 'push', 'retire', 'stop']);
    t.deepEqual([whole.proxy, whole.serves, whole.boxes.get('new-1')?.on], ['old', true, false]);
    await t.throwsAsync(whole.back('new-1'), { message: /took nobody's place/ });
    for (const [at, name] of calls.entries()) {
      const fleet = new Fleet(work);
      await fleet.replace();
      fleet.world.revive(at);
      await t.throwsAsync(fleet.back('new-1'), { instanceOf: Killed }, name);
      t.true(fleet.serves, `${name}: never a moment without`);
      if (noted().length) await t.throwsAsync(fleet.replace(), { message: /going back to old was cut/ }, name);
      fleet.world.revive();
      await fleet.back('new-1');
      t.deepEqual([fleet.proxy, fleet.edge, fleet.serves, ids()], ['old', 'old', true, ['new-1', 'old']], name);
    }
    // It can be replaced again; the one that it was replaced by before isn't taken for its successor.
    const fleet = new Fleet(work);
    await fleet.replace();
    await fleet.back('new-1');
    t.is((await fleet.replace()).next, 'new-2');
    t.true(fleet.boxes.has('new-1'));
    await t.throwsAsync(replaceInstance(readRecord('new-1'), { suspect: false }, fleet.hands, new Progress()), {
      message: /was gone back from/,
    });
  },
);

test.serial('who was replaced in turn can’t be gone back from', async (t) => {
  const fleet = new Fleet(work);
  await fleet.replace();
  await replaceInstance(readRecord('new-1'), { suspect: false }, fleet.hands, new Progress());
  await t.throwsAsync(fleet.back('new-1'), { message: /new-1 was replaced by new-2/ });
});

test.serial(
  'with all are replaced those that are current; what was cut is the old one’s, and neither is destroyed meanwhile',
  async (t) => {
    const fleet = new Fleet(work);
    const current = () =>
      listRecords()
        .records.filter(isCurrent)
        .map(({ instance_id }) => instance_id);
    fleet.world.revive(3);
    await t.throwsAsync(fleet.replace(), { instanceOf: Killed });
    t.deepEqual(current(), ['old']);
    t.regex(cutReplacements(listRecords().records).join(), /npm run replace -- old/);
    for (const id of ids()) t.throws(() => refuseAmidst(readRecord(id)), { message: /isn't through/ }, id);
    fleet.world.revive();
    const { next } = await fleet.replace();
    t.deepEqual(current(), [next]);
    t.notThrows(() => refuseAmidst(readRecord('old')));
    await fleet.back(next);
    t.deepEqual(current(), ['old']);
  },
);

test.serial('what was launched by other means isn’t replaced; an image’s base is in its ID', async (t) => {
  const fleet = new Fleet(work);
  writeRecord({ ...RECORD, instance_id: 'old', cloud: 'other', qemu: null, disk: null });
  await t.throwsAsync(fleet.replace(), { message: /by other means/ });
  t.is(baseOf('ubuntu-24.04-20261128T000000Z-0000000a'), 'ubuntu-24.04');
});
