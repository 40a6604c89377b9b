import { randomBytes } from 'node:crypto';
import test from 'ava';
import { type FakeHetzner, startFakeHetzner } from '../fakes/hetzner/index.ts';
import { selects } from '../fakes/hetzner/select.ts';

// That the fake refuses what Hetzner's description refuses. What it lets pass would let our mistakes pass.

let fake: FakeHetzner;
test.before(async () => {
  fake = await startFakeHetzner({ actionMs: 100 });
});
test.after.always(() => fake.close());

interface Answer {
  status: number;
  // biome-ignore lint/suspicious/noExplicitAny: looked into by each test.
  body: any;
  headers: Headers;
}

async function call(method: string, path: string, body?: unknown, token = fake.env.HCLOUD_TOKEN): Promise<Answer> {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const init = { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
  const answer = await fetch(`${fake.env.HCLOUD_ENDPOINT}${path}`, init);
  const text = await answer.text();
  return { status: answer.status, body: text ? JSON.parse(text) : undefined, headers: answer.headers };
}

async function settled(id: number): Promise<void> {
  while ((await call('GET', `/servers/${id}`)).body.server.locked) await new Promise((done) => setTimeout(done, 20));
}

let count = 0;
const fresh = () => `box-${++count}`;
const key = () => {
  const raw = Buffer.concat([Buffer.from('0000000b7373682d6564323535313900000020', 'hex'), randomBytes(32)]);
  return `ssh-ed25519 ${raw.toString('base64')} someone`;
};
const asked = (more: Record<string, unknown> = {}) => ({
  name: fresh(),
  server_type: 'cx23',
  image: 'debian-13',
  location: 'fsn1',
  start_after_create: false,
  ...more,
});

test.serial('a wrong token, an unknown path and JSON that is none are refused', async (t) => {
  t.like(await call('GET', '/servers', undefined, 'other'), { status: 401, body: { error: { code: 'unauthorized' } } });
  t.like(await call('GET', '/datacenters'), { status: 404, body: { error: { code: 'not_found' } } });
  t.like(await call('GET', '/servers/77'), { status: 404, body: { error: { code: 'not_found' } } });
  const headers = { authorization: `Bearer ${fake.env.HCLOUD_TOKEN}` };
  const answer = await fetch(`${fake.env.HCLOUD_ENDPOINT}/servers`, { method: 'POST', headers, body: '{' });
  t.is(answer.status, 400);
});

for (const [what, body] of Object.entries({
  'an unknown member': asked({ nam: 'x' }),
  'the removed datacenter': asked({ datacenter: 'fsn1-dc14' }),
  'a missing name': { server_type: 'cx23', image: 'debian-13' },
  'a missing type': { name: 'x', image: 'debian-13' },
  'a mistyped boolean': asked({ start_after_create: 'no' }),
  'a mistyped list': asked({ ssh_keys: '5' }),
  'an unknown key of public_net': asked({ public_net: { ipv4_enabled: true } }),
  'a name that is no host name': asked({ name: 'a_b' }),
  'a name too long': asked({ name: 'a'.repeat(64) }),
  'user-data of more than 32 KiB': asked({ user_data: 'x'.repeat(32 * 1024 + 1) }),
  'a label value of 64 characters': asked({ labels: { digest: 'a'.repeat(64) } }),
  'a label value with a colon': asked({ labels: { time: '12:00' } }),
  'a label value that ends in a dash': asked({ labels: { it: 'a-' } }),
  'a label key with a space': asked({ labels: { 'a b': 'c' } }),
  'a reserved label key': asked({ labels: { 'hetzner.cloud/x': 'c' } }),
  'an unknown type': asked({ server_type: 'cx999' }),
  'an unknown image': asked({ image: 'debian-4' }),
  'an unknown location': asked({ location: 'mars1' }),
  'another architecture': asked({ server_type: 'cax11' }),
  'an SSH key that is not there': asked({ ssh_keys: [4711] }),
})) {
  test.serial(`a server with ${what} is refused`, async (t) => {
    const before = fake.live().length;
    t.like(await call('POST', '/servers', body), { status: 422, body: { error: { code: 'invalid_input' } } });
    t.is(fake.live().filter((name) => name === `server ${(body as { name?: string }).name}`).length, 0);
    t.true(fake.live().length >= before);
  });
}

test.serial('queries are as closed as bodies', async (t) => {
  for (const path of [
    '/servers?label=x',
    '/servers?per_page=51',
    '/images?type=snap',
    '/images?sort=size',
    '/pricing?x=1',
  ])
    t.like(await call('GET', path), { status: 422, body: { error: { code: 'invalid_input' } } }, path);
});

test.serial('a server is made, locked until its action has ended, and names are unique', async (t) => {
  const body = asked({ labels: { env: 'test' } });
  const made = await call('POST', '/servers', body);
  t.is(made.status, 201);
  t.like(made.body, {
    action: { status: 'running' },
    next_actions: [],
    server: { status: 'initializing', locked: true },
  });
  t.regex(made.body.root_password, /^root-/);
  t.false('datacenter' in made.body.server);
  t.is(made.body.server.location.name, 'fsn1');
  const { id } = made.body.server;
  const again = await call('POST', '/servers', body);
  t.like(again, { status: 409, body: { error: { code: 'uniqueness_error' } } });
  t.like(await call('POST', `/servers/${id}/actions/poweron`), { status: 423, body: { error: { code: 'locked' } } });
  t.like(await call('DELETE', `/servers/${id}`), { status: 423, body: { error: { code: 'locked' } } });
  await settled(id);
  t.like(await call('GET', `/servers/${id}`), { body: { server: { status: 'off', locked: false } } });
  t.like(await call('GET', `/actions/${made.body.action.id}`), {
    body: { action: { status: 'success', progress: 100 } },
  });
  t.is(made.headers.get('ratelimit-limit'), '3600');
});

test.serial('next_actions start a server that wasn’t told to stay off', async (t) => {
  const made = await call('POST', '/servers', asked({ start_after_create: true }));
  t.like(made.body.next_actions, [{ command: 'start_server', status: 'running' }]);
  await settled(made.body.server.id);
  t.is((await call('GET', `/servers/${made.body.server.id}`)).body.server.status, 'running');
  const image = await call('POST', `/servers/${made.body.server.id}/actions/create_image`, {});
  t.like(image, { status: 409, body: { error: { code: 'server_not_stopped' } } });
});

test.serial('PUT replaces the whole set of labels', async (t) => {
  const { id } = (await call('POST', '/servers', asked({ labels: { a: '1', b: '2' } }))).body.server;
  await call('PUT', `/servers/${id}`, { labels: { c: '3' } });
  t.deepEqual((await call('GET', `/servers/${id}`)).body.server.labels, { c: '3' });
});

test.serial('a snapshot wants a disk as large as the one it was taken of', async (t) => {
  const { id } = (await call('POST', '/servers', asked({ server_type: 'cx33' }))).body.server;
  await settled(id);
  const made = await call('POST', `/servers/${id}/actions/create_image`, { type: 'snapshot', labels: { x: 'y' } });
  t.like(made, {
    status: 201,
    body: { image: { status: 'creating', image_size: null, disk_size: 80, deleted: null } },
  });
  t.is((await call('POST', '/servers', asked({ image: String(made.body.image.id) }))).status, 422, 'not yet available');
  await settled(id);
  t.is((await call('POST', '/servers', asked({ image: made.body.image.id }))).status, 422, 'cx23 has 40 GB');
  t.is((await call('POST', '/servers', asked({ image: made.body.image.id, server_type: 'cx33' }))).status, 201);
  t.is((await call('GET', '/images?type=snapshot&label_selector=x')).body.images.length, 1);
  t.is((await call('DELETE', `/images/${made.body.image.id}`)).status, 204);
});

const rule = (more: Record<string, unknown> = {}) => ({
  ...{ direction: 'in', protocol: 'tcp', port: '443', source_ips: ['0.0.0.0/0', '::/0'] },
  ...more,
});

for (const [what, body] of Object.entries({
  'no name': {},
  'a name too long': { name: 'a'.repeat(129) },
  'an address without a length': { name: 'x', rules: [rule({ source_ips: ['198.51.100.7'] })] },
  'host bits': { name: 'x', rules: [rule({ source_ips: ['198.51.100.7/24'] })] },
  'host bits of IPv6': { name: 'x', rules: [rule({ source_ips: ['2001:db8::1/64'] })] },
  'a length of 33': { name: 'x', rules: [rule({ source_ips: ['198.51.100.7/33'] })] },
  'nobody let in': { name: 'x', rules: [rule({ source_ips: [] })] },
  '101 networks': { name: 'x', rules: [rule({ source_ips: Array(101).fill('198.51.100.7/32') })] },
  'port 0': { name: 'x', rules: [rule({ port: '0' })] },
  'port 65536': { name: 'x', rules: [rule({ port: '65536' })] },
  'a port as a number': { name: 'x', rules: [rule({ port: 443 })] },
  'a range backwards': { name: 'x', rules: [rule({ port: '5000-1024' })] },
  'no port for TCP': { name: 'x', rules: [rule({ port: undefined })] },
  'a port for ICMP': { name: 'x', rules: [rule({ protocol: 'icmp' })] },
  'an unknown protocol': { name: 'x', rules: [rule({ protocol: 'sctp' })] },
  '51 rules': { name: 'x', rules: Array(51).fill(rule()) },
  'more than 500 effective rules': { name: 'x', rules: Array(6).fill(rule({ source_ips: Array(90).fill('::1/128') })) },
})) {
  test.serial(`a firewall with ${what} is refused`, async (t) => {
    t.like(await call('POST', '/firewalls', body), { status: 422, body: { error: { code: 'invalid_input' } } });
    t.false(fake.live().includes('firewall x'));
  });
}

test.serial(
  'a firewall: made closed, applied with a server, in use as long as that is there and a while more',
  async (t) => {
    const firewall = async () => (await call('POST', '/firewalls', { name: fresh() })).body.firewall.id;
    const name = fresh();
    const made = await call('POST', '/firewalls', { name, labels: { a: '1' } });
    t.like(made, { status: 201, body: { actions: [], firewall: { name, rules: [], applied_to: [] } } });
    t.like(await call('POST', '/firewalls', { name }), { status: 409, body: { error: { code: 'uniqueness_error' } } });
    const { id } = made.body.firewall;
    t.is((await call('PUT', `/firewalls/${id}`, { labels: { b: '2' } })).status, 200);
    t.deepEqual((await call('GET', '/firewalls?label_selector=b')).body.firewalls[0].labels, { b: '2' });

    const ids = [id, await firewall(), await firewall(), await firewall(), await firewall(), await firewall()];
    const behind = (those: number[]) => asked({ firewalls: those.map((one) => ({ firewall: one })) });
    for (const wrong of [[4711], ids, [id, id]])
      t.like(await call('POST', '/servers', behind(wrong)), {
        status: 422,
        body: { error: { code: 'invalid_input' } },
      });
    const { server } = (await call('POST', '/servers', behind(ids.slice(0, 5)))).body;
    t.like(server.public_net.firewalls, [{ id, status: 'pending' }]);
    const other = (await call('POST', '/servers', asked())).body.server.id;
    const apply = (to: number, from = id, how = 'apply_to') =>
      call('POST', `/firewalls/${from}/actions/${how}_resources`, { [how]: [{ type: 'server', server: { id: to } }] });
    await settled(server.id);
    await new Promise((done) => setTimeout(done, 250));
    t.is((await call('GET', `/servers/${server.id}`)).body.server.public_net.firewalls[0].status, 'applied');
    t.like(await apply(server.id), { status: 422, body: { error: { code: 'firewall_already_applied' } } });
    t.like(await apply(server.id, ids[5]), { status: 422, body: { error: { code: 'invalid_input' } } });
    t.like(await apply(4711), { status: 404, body: { error: { code: 'firewall_resource_not_found' } } });
    t.like(await apply(other, id, 'remove_from'), {
      status: 422,
      body: { error: { code: 'firewall_already_removed' } },
    });

    const set = await call('POST', `/firewalls/${id}/actions/set_rules`, { rules: [rule()] });
    t.like(set, { status: 201, body: { actions: [{ command: 'set_firewall_rules', status: 'running' }] } });
    const again = await call('POST', `/firewalls/${id}/actions/set_rules`, { rules: [] });
    t.like(again, { status: 409, body: { error: { code: 'conflict' } } });
    const used = { status: 422, body: { error: { code: 'resource_in_use' } } };
    t.like(await call('DELETE', `/firewalls/${id}`), used);
    await call('DELETE', `/servers/${server.id}`);
    while ((await call('GET', `/servers/${server.id}`)).status === 200)
      await new Promise((done) => setTimeout(done, 5));
    t.like(await call('DELETE', `/firewalls/${id}`), used);
    await new Promise((done) => setTimeout(done, 150));
    t.is((await call('DELETE', `/firewalls/${id}`)).status, 204);
    t.is((await call('DELETE', `/firewalls/${id}`)).status, 404);
  },
);

test.serial('a shutdown is only sent: the machine follows it later, or never', async (t) => {
  const { id } = (await call('POST', '/servers', asked({ start_after_create: true }))).body.server;
  const status = async () => (await call('GET', `/servers/${id}`)).body.server.status;
  const sent = async () => {
    await call('POST', `/servers/${id}/actions/shutdown`);
    await settled(id);
    return status();
  };
  await settled(id);
  fake.deaf = true;
  t.is(await sent(), 'running');
  await new Promise((done) => setTimeout(done, 100));
  t.is(await status(), 'running');
  fake.deaf = false;
  t.is(await sent(), 'running');
  while ((await status()) !== 'off') await new Promise((done) => setTimeout(done, 5));
  t.is(await sent(), 'off');
});

test.serial('SSH keys are unique by name and by key', async (t) => {
  const public_key = key();
  const name = fresh();
  t.is((await call('POST', '/ssh_keys', { name, public_key })).status, 201);
  t.is((await call('POST', '/ssh_keys', { name, public_key: key() })).status, 409);
  t.is((await call('POST', '/ssh_keys', { name: fresh(), public_key })).status, 409);
  t.is((await call('POST', '/ssh_keys', { name: fresh(), public_key: 'PRIVATE' })).status, 422);
});

test.serial('lists come in pages', async (t) => {
  for (let more = 0; more < 3; more++)
    await call('POST', '/ssh_keys', { name: fresh(), public_key: key(), labels: { page: 'd' } });
  const first = await call('GET', '/ssh_keys?label_selector=page%3Dd&per_page=2');
  t.is(first.body.ssh_keys.length, 2);
  t.like(first.body.meta.pagination, { page: 1, next_page: 2, last_page: 2, total_entries: 3, previous_page: null });
});

test.serial('an action fails by the test’s will, and its effect doesn’t happen', async (t) => {
  fake.failAction = (command) => (command === 'create_server' ? { code: 'action_failed', message: 'no' } : undefined);
  const body = asked({ name: 'never-made' });
  const { action } = (await call('POST', '/servers', body)).body;
  await new Promise((done) => setTimeout(done, 250));
  fake.failAction = undefined;
  t.like(await call('GET', `/actions/${action.id}`), {
    body: { action: { status: 'error', error: { code: 'action_failed' } } },
  });
  t.false(fake.live().includes('server never-made'));
});

test.serial('label selectors', (t) => {
  const labels = { a: '1', b: 'two' };
  for (const [selector, fits] of Object.entries({
    'a==1': true,
    'a=1,b=two': true,
    'a=1,b=three': false,
    'a!=1': false,
    b: true,
    '!b': false,
    '!c': true,
    'a in (0, 1)': true,
    'a notin (0, 1)': false,
  }))
    t.is(selects(selector, labels), fits, selector);
  t.throws(() => selects('a >= 1', labels));
});
