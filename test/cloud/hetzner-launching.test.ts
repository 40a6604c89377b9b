import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import anyTest from 'ava';
import { machines as openMachines } from '../../src/clouds/hetzner/machines.ts';
import { launchHosted, type Outside } from '../../src/launch/hosted.ts';
import { cutLaunches, settleLaunches } from '../../src/launch/journal.ts';
import { destroyInstance } from '../../src/launch/power.ts';
import { listRecords } from '../../src/launch/records.ts';
import { Progress } from '../../src/process/progress.ts';
import { abandonLaunches } from '../fakes/abandoned.ts';
import { GATE } from '../fakes/memory-machines.ts';
import { withBundle } from '../fakes/recorded.ts';
import { BUNDLE } from '../unit/launch-fixture.ts';
import { ask, booted, fake, firewalls, image, killedEverywhere, live, machines, openScene } from './hetzner-launch.ts';

// A whole launch on the fake of Hetzner, which shows no console: the bundle is learnt by the operators' channel. Cut after each call in
// turn, nobody is left over.

const test = anyTest.serial;
const work = mkdtempSync(join(tmpdir(), 'clawdy-hetzner-launch-'));
process.env.XDG_STATE_HOME = join(work, 'state');
process.env.XDG_CONFIG_HOME = join(work, 'config');
anyTest.beforeEach(openScene);
anyTest.afterEach.always(() => fake.close());
anyTest.after.always(() => rmSync(work, { recursive: true, force: true }));

/** Rules that were in force when the box was asked for its bundle. */
let whenAsked: { port: string; source_ips: string[] }[] = [];

const outside: Outside = {
  checkHostKey: async () => {},
  isLive: async () => true,
  // Heard in this process: not by the fake's way, which may be dead.
  byChannel: () => ({
    heard: async () => {
      const { fault } = fake;
      fake.fault = undefined;
      const server = (await ask('GET', '/servers')).servers.at(-1) as { id: number };
      whenAsked = (await firewalls())[0].rules;
      fake.fault = fault;
      const said = `clawdy: image ${image.image}, instance ${server.id}\nclawdy: live ok\n`;
      const instanceId = String(server.id);
      const hostKey = BUNDLE.ssh.hostKeys[0] as string;
      return withBundle(said, { instanceId, userData: booted.at(-1) as string, hostKey, gate: GATE });
    },
    close: () => {},
  }),
};

const launch = () =>
  launchHosted(
    machines,
    {
      ...{ image, size: undefined, learning: { by: 'channel', from: ['203.0.113.7/32'] }, wait: true },
      keys: { userKeys: [`ssh-ed25519 ${'A'.repeat(68)}`], privateFile: undefined },
      front: { mode: 'tunnel', hosts: ['alice.example.com'], users: ['alice@example.com'] },
    },
    outside,
    new Progress(),
  );

test('by the operators’ channel: the firewall lets one network at the SSH range, and in the end everybody at one port', async (t) => {
  const record = await launch();
  t.deepEqual(
    whenAsked.map(({ port, source_ips }) => [port, source_ips]),
    [['20000-32767', ['203.0.113.7/32']]],
  );
  const [{ rules }] = await firewalls();
  t.deepEqual(
    rules.map(({ port, source_ips }: { port: string; source_ips: string[] }) => [port, source_ips.length]),
    [[String(record.ssh.port), 2]],
  );
  await destroyInstance(record, new Progress());
  t.deepEqual([live(), listRecords().records], [[], []]);
});

test('cut after any call, the next command leaves nothing but what has a record', (t) =>
  killedEverywhere(
    t,
    async () => {},
    launch,
    async (_, where) => {
      abandonLaunches();
      await settleLaunches(() => openMachines(undefined));
      const { records } = listRecords();
      t.is(live().length, 2 * records.length, where);
      t.deepEqual(cutLaunches().cut, [], where);
      for (const record of records) await destroyInstance(record, new Progress());
      t.deepEqual(live(), [], where);
    },
  ));
