import { inspect } from 'node:util';
import anyTest from 'ava';
import { HetznerApi } from '../../src/clouds/hetzner/api.ts';
import { HetznerClient } from '../../src/clouds/hetzner/client.ts';
import { HetznerMachines, machines as openMachines } from '../../src/clouds/hetzner/machines.ts';
import { settings } from '../../src/clouds/hetzner/settings.ts';
import type { LaunchJob, Start } from '../../src/clouds/machines.ts';
import { EXIT } from '../../src/process/errors.ts';
import { fails, openFake, tellsNothing } from './hetzner-job.ts';
import {
  ADMIN,
  ask,
  booted,
  EVERYBODY,
  fake,
  firewalls,
  image,
  launch,
  live,
  machines,
  openScene,
  rules,
  server,
  TOKEN,
  USER_DATA,
  WEB,
  wanted,
} from './hetzner-launch.ts';

// What each primitive of launching promises, at Hetzner.

const test = anyTest.serial;
anyTest.beforeEach(openScene);
anyTest.afterEach.always(() => fake.close());

/** Over the same fake, less patient. */
function impatient(): HetznerMachines {
  const { pollMs, limitMs: _, ...access } = settings(process.env);
  const api = new HetznerApi(new HetznerClient(access), { pollMs, limitMs: 10_000 });
  return new HetznerMachines(api, 'fsn1', { shutdownMs: 200, firewallMs: 200 });
}

test('a machine is behind a closed firewall of its own, which was there before it', async (t) => {
  const job = launch();
  const machine = await machines.start(job, wanted());
  t.is(machines.name, 'hetzner');
  t.is(machines.console, undefined);
  t.like(machine, { region: 'fsn1', state: 'running', image: 'debian-13-x', run: job.run, temporary: true });
  t.is(machine.address, '192.0.2.1');
  t.true(Math.abs(Date.parse(machine.created) - Date.now()) < 60_000);
  t.deepEqual(live(), ['server box', `firewall clawdy-${job.run}`]);
  t.true(fake.calls.indexOf('POST /firewalls') < fake.calls.lastIndexOf('POST /servers'));
  t.false(fake.calls.includes('POST /ssh_keys'));

  const [firewall] = await firewalls();
  const made = await server(machine.instanceId);
  t.deepEqual(firewall.rules, []);
  t.deepEqual(made.public_net.firewalls, [{ id: firewall.id, status: 'applied' }]);
  t.truthy(made.public_net.ipv6.ip);
  t.is(made.image.id, Number(image.imageId));
  const labels = {
    'clawdy-owner': 'clawdy-image',
    'clawdy-run': job.run,
    'clawdy-image': 'debian-13-x',
    'clawdy-base': 'debian-13',
    'clawdy-digest': 'd1',
    'clawdy-temporary': 'yes',
    'clawdy-launched': 'yes',
  };
  t.deepEqual([made.labels, firewall.labels], [labels, labels]);
  t.deepEqual(booted, [USER_DATA]);
  t.false(job.said.join('\n').includes(TOKEN));

  t.deepEqual(await machines.machine('fsn1', machine.instanceId), machine);
  t.deepEqual(await machines.list('hel1'), [machine]);
  t.is(await machines.machine('fsn1', '4711'), undefined);
});

test('the same start again takes what is there', async (t) => {
  const job = launch();
  const machine = await machines.start(job, wanted());
  await machines.open('fsn1', machine.instanceId, [WEB]);
  t.deepEqual(await machines.start(job, wanted()), machine);
  t.deepEqual(live(), ['server box', `firewall clawdy-${job.run}`]);
  t.deepEqual(await rules(job.run), [], 'closed again');
  await machines.power('fsn1', machine.instanceId, false);
  t.is((await machines.start(job, wanted())).state, 'running');
});

test('every answer to a changing call is lost once: one server, one firewall, and none afterwards', async (t) => {
  const lost = new Set<string>();
  fake.fault = (name) => {
    if (name.startsWith('GET') || lost.has(name)) return undefined;
    lost.add(name);
    return { kind: 'reset', after: true };
  };
  const job = launch();
  const { instanceId } = await machines.start(job, wanted());
  await machines.open('fsn1', instanceId, [ADMIN]);
  await machines.keep('fsn1', instanceId);
  t.is((await machines.power('fsn1', instanceId, false)).state, 'stopped');
  t.is((await machines.power('fsn1', instanceId, true)).state, 'running');
  t.deepEqual(live(), ['server box', `firewall clawdy-${job.run}`]);
  await machines.destroy('fsn1', instanceId);
  t.deepEqual(live(), []);
  t.is(lost.size, 9, [...lost].join());
});

test('names: its own, the run’s where that is taken or no host name; a firewall’s name that is taken', async (t) => {
  await machines.start(launch(), wanted());
  const second = launch();
  await machines.start(second, wanted());
  const third = launch();
  await machines.start(third, wanted({ name: 'a_b' }));
  const names = live().filter((name) => name.startsWith('server'));
  t.deepEqual(names, ['server box', `server clawdy-${second.run}`, `server clawdy-${third.run}`]);
  const fourth = launch();
  await ask('POST', '/firewalls', { name: `clawdy-${fourth.run}` });
  t.regex((await fails(t, fake, machines.start(fourth, wanted()))).message, /uniqueness_error/);
});

test('sizes and places: the smallest that fits, the one that is named, another where none is free', async (t) => {
  const at = async (more: Partial<Start> = {}, region = 'fsn1') => {
    const { instanceId } = await machines.start(launch({ region }), wanted(more));
    const { server_type, location } = await server(instanceId);
    return `${server_type.name} in ${location.name}`;
  };
  t.is(await at(), 'cx23 in fsn1');
  t.is(await at({ size: 'cpx32' }, 'nbg1'), 'cpx32 in nbg1');
  let left = 2;
  fake.fault = (name) =>
    name === 'POST /servers' && left-- > 0
      ? { kind: 'error', status: 412, code: 'resource_unavailable', message: 'none free' }
      : undefined;
  t.is(await at({ size: 'cx33' }), 'cx33 in hel1', 'no other size than the one that was named');
  t.regex((await fails(t, fake, at({ size: 'cax11' }))).message, /no x86 server type cax11 with 40 GB/);
  t.regex((await fails(t, fake, at({}, 'mars1'))).message, /no location mars1/);
  fake.fault = (name) =>
    name === 'POST /servers'
      ? { kind: 'error', status: 412, code: 'resource_unavailable', message: 'none free' }
      : undefined;
  const job = launch();
  t.regex((await fails(t, fake, machines.start(job, wanted()))).message, /no server free: cx23 in fsn1/);
  fake.fault = undefined;
  await machines.sweep('fsn1', job.run);
  t.false(live().includes(`firewall clawdy-${job.run}`));
});

test('what can’t be started makes nothing, and tells nothing of the user-data', async (t) => {
  const job = launch();
  const said: string[] = [];
  const refused = async (more: Partial<Start>, region?: LaunchJob) => {
    const error = await fails(t, fake, machines.start(region ?? job, wanted(more)));
    said.push(inspect(error, { depth: 10, showHidden: true }));
    return error.message;
  };
  t.regex(await refused({ userData: `${TOKEN}${'x'.repeat(32 * 1024)}` }), /more than 32768 bytes/);
  t.regex(await refused({ image: { ...image, imageId: '4711' } }), /snapshot 4711 is gone/);
  t.regex(await refused({}, launch({ run: 'a,b' })), /no name of a run/);
  t.deepEqual(live(), []);
  for (const code of ['invalid_input', 'resource_limit_exceeded']) {
    fake.failAction = (name) => (name === 'create_server' ? { code, message: 'no' } : undefined);
    await refused({});
    t.deepEqual(live(), [`firewall clawdy-${job.run}`], code);
  }
  fake.failAction = undefined;
  fake.fault = (name) =>
    name === 'POST /servers' ? { kind: 'error', status: 422, code: 'invalid_input', message: 'no' } : undefined;
  await refused({});
  for (const text of [...said, ...job.said]) t.false(text.includes(TOKEN), text);
  tellsNothing(t, fake, ...said, ...job.said);
  const wrong = await t.throwsAsync(openMachines('eu-central-1'));
  t.like(wrong, { exitCode: EXIT.input });
  for (const id of ['i-0abc', '', '0', '1/actions'])
    t.is((await fails(t, fake, machines.destroy('fsn1', id))).exitCode, EXIT.input);
});

test('a server that isn’t behind its firewall in time is none', async (t) => {
  fake.failAction = (name) => (name === 'apply_firewall' ? { code: 'action_failed', message: 'no' } : undefined);
  const job = launch();
  t.regex((await fails(t, fake, impatient().start(job, wanted()))).message, /behind firewall \d+: not done/);
  await machines.sweep('fsn1', job.run);
  t.deepEqual(live(), []);
});

test('open: exactly these, whole when it returns, again and in place of what was', async (t) => {
  const job = launch();
  const { instanceId } = await machines.start(job, wanted());
  const rule = (port: string, source_ips: string[]) => ({
    ...{ direction: 'in', protocol: 'tcp', port, source_ips },
    ...{ destination_ips: [], description: null },
  });
  for (let times = 0; times < 2; times++) {
    await machines.open('fsn1', instanceId, [ADMIN, WEB]);
    t.deepEqual(await rules(job.run), [rule('20000-32767', ADMIN.sources), rule('443', EVERYBODY)]);
  }
  const many = Array.from({ length: 130 }, (_, index) => `198.51.100.${index}/32`);
  await machines.open('fsn1', instanceId, [
    { port: 443, to: 443, sources: many },
    { port: 22, sources: [] },
  ]);
  t.deepEqual(await rules(job.run), [rule('443', many.slice(0, 100)), rule('443', many.slice(100))]);
  await machines.open('fsn1', instanceId, []);
  t.deepEqual(await rules(job.run), []);

  const wrong = { port: 443, sources: ['198.51.100.7/24'] };
  t.regex((await fails(t, fake, machines.open('fsn1', instanceId, [wrong]))).message, /empty host bits.*invalid_input/);
  fake.failAction = (name) => (name === 'set_firewall_rules' ? { code: 'action_failed', message: 'no' } : undefined);
  t.regex((await fails(t, fake, machines.open('fsn1', instanceId, [WEB]))).message, /action_failed/);
  fake.failAction = undefined;

  const [{ id }] = await firewalls();
  const remove_from = [{ type: 'server', server: { id: Number(instanceId) } }];
  await ask('POST', `/firewalls/${id}/actions/remove_from_resources`, { remove_from });
  while ((await server(instanceId)).public_net.firewalls.length > 0) await new Promise((done) => setTimeout(done, 5));
  const open = await fails(t, fake, machines.open('fsn1', instanceId, [WEB]));
  t.regex(open.message, /isn't behind the firewall/);
  t.regex((await fails(t, fake, machines.open('fsn1', '4711', [WEB]))).message, /4711 is gone/);
});

test('keep: neither server nor firewall is temporary any more, and no sweep takes them', async (t) => {
  const job = launch();
  const { instanceId } = await machines.start(job, wanted());
  await ask('PUT', `/servers/${instanceId}`, { labels: { ...(await server(instanceId)).labels, mine: 'yes' } });
  await machines.keep('fsn1', instanceId);
  await machines.keep('fsn1', instanceId);
  t.false((await machines.machine('fsn1', instanceId))?.temporary);
  t.deepEqual(await firewalls('clawdy-temporary'), []);
  t.is((await server(instanceId)).labels.mine, 'yes', 'others’ labels stay');
  await machines.sweep('fsn1', job.run);
  t.deepEqual(live(), ['server box', `firewall clawdy-${job.run}`]);
  const [used] = await (await openFake(fake)).list('fsn1');
  t.deepEqual(used?.usedBy, ['server box']);
});

test('power: off by its own system, by force where that is deaf, and on', async (t) => {
  const { instanceId } = await machines.start(launch(), wanted());
  const off = await machines.power('fsn1', instanceId, false);
  t.like(off, { instanceId, state: 'stopped' });
  t.is((await server(instanceId)).status, 'off');
  t.is((await machines.power('fsn1', instanceId, false)).state, 'stopped');
  t.false(fake.calls.includes('POST /servers/{id}/actions/poweroff'));
  t.like(await machines.power('fsn1', instanceId, true), { instanceId, state: 'running' });
  t.is((await machines.power('fsn1', instanceId, true)).state, 'running');
  fake.deaf = true;
  t.is((await impatient().power('fsn1', instanceId, false)).state, 'stopped');
  t.true(fake.calls.includes('POST /servers/{id}/actions/poweroff'));
  await machines.destroy('fsn1', instanceId);
  t.regex((await fails(t, fake, machines.power('fsn1', instanceId, true))).message, /is gone/);
});

test('destroy: server and firewall, once Hetzner sees that it is free; again is fine; others’ servers aren’t ours', async (t) => {
  fake.firewallLagMs = 300;
  const { instanceId } = await machines.start(launch(), wanted());
  const other = launch();
  await machines.start(other, wanted());
  await machines.keep('fsn1', instanceId);
  await machines.destroy('fsn1', instanceId);
  t.true(fake.calls.filter((name) => name === 'DELETE /firewalls/{id}').length > 1, 'it was in use for a while');
  const others = [`server clawdy-${other.run}`, `firewall clawdy-${other.run}`];
  t.deepEqual(live(), others);
  await machines.destroy('fsn1', instanceId);
  t.deepEqual(live(), others);
  t.is(await machines.machine('fsn1', instanceId), undefined);

  const theirs = { name: 'theirs', server_type: 'cx23', image: 'debian-13', start_after_create: false };
  const { id } = (await ask('POST', '/servers', theirs)).server;
  t.is(await machines.machine('fsn1', String(id)), undefined);
  for (const work of [
    machines.destroy('fsn1', String(id)),
    machines.power('fsn1', String(id), true),
    machines.open('fsn1', String(id), [WEB]),
    machines.keep('fsn1', String(id)),
  ])
    await fails(t, fake, work);
  t.deepEqual(
    live(),
    ['server theirs', ...others].sort((a, b) => live().indexOf(a) - live().indexOf(b)),
  );
});

test('a firewall that stays in use is given up in time, and taken by the next destroy or sweep', async (t) => {
  for (const next of ['destroy', 'sweep'] as const) {
    fake.firewallLagMs = 60_000;
    const job = launch();
    const { instanceId } = await machines.start(job, wanted());
    await machines.keep('fsn1', instanceId);
    t.regex(
      (await fails(t, fake, impatient().destroy('fsn1', instanceId))).message,
      /Hetzner says is in use: not done/,
    );
    t.deepEqual(live(), [`firewall clawdy-${job.run}`]);
    fake.firewallLagMs = 0;
    await (next === 'destroy' ? machines.destroy('fsn1', instanceId) : machines.sweep('fsn1', job.run));
    t.deepEqual(live(), []);
  }
});
