import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { run } from '../../src/process/run.ts';
import { type FakeHetzner, startFakeHetzner } from '../fakes/hetzner/index.ts';
import { ROOT } from '../image.ts';
import { openFake } from './hetzner-job.ts';

// Debian's hcloud-cli (package hcloud-cli, by Hetzner, of an API before July 2026) against the same fake: what satisfies both
// clients is no form that only we believe in.

let fake: FakeHetzner;
const work = mkdtempSync(join(tmpdir(), 'clawdy-hcloud-'));
test.before(async () => {
  fake = await startFakeHetzner();
});
test.after.always(async () => {
  await fake.close();
  rmSync(work, { recursive: true });
});

async function hcloud(...words: string[]): Promise<string> {
  // A configuration of whoever runs this would bring another context.
  const env = { ...fake.env, HCLOUD_CONFIG: join(work, 'none.toml') };
  return (await run('hcloud', words, { step: 'hcloud', env, timeout: 30_000 })).stdout;
}

test.serial('makes a key, a server and a snapshot, and lists them with labels', async (t) => {
  const key = join(work, 'key');
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key], { step: 'key' });
  t.true(existsSync(key));
  await hcloud('ssh-key', 'create', '--name', 'me', '--public-key-from-file', `${key}.pub`, '--label', 'who=me');
  writeFileSync(join(work, 'user-data'), '#cloud-config\n{}\n');
  const words = ['--name', 'box', '--type', 'cx23', '--image', 'debian-13', '--location', 'nbg1', '--ssh-key', 'me'];
  const more = ['--label', 'who=me', '--start-after-create=false', '--user-data-from-file', join(work, 'user-data')];
  t.regex(await hcloud('server', 'create', ...words, ...more), /Server \d+ created/);
  await hcloud('server', 'create-image', '--type', 'snapshot', '--description', 'mine', '--label', 'who=me', 'box');
  const servers = JSON.parse(await hcloud('server', 'list', '--selector', 'who=me', '--output', 'json'));
  t.like(servers, [{ name: 'box', status: 'off', labels: { who: 'me' }, server_type: { name: 'cx23' } }]);
  const images = JSON.parse(
    await hcloud('image', 'list', '--type', 'snapshot', '--selector', 'who=me', '--output', 'json'),
  );
  t.like(images, [{ status: 'available', description: 'mine', disk_size: 40, labels: { who: 'me' } }]);
  await hcloud('server', 'enable-rescue', '--ssh-key', 'me', 'box');
  t.regex(await hcloud('server', 'describe', 'box'), /Rescue Enabled|Status:/);
  await hcloud('server', 'poweron', 'box');
  await hcloud('server', 'poweroff', 'box');
  t.deepEqual(
    fake.live().filter((name) => name.startsWith('server')),
    ['server box'],
  );
});

test.serial('finds what our code made by the documented line', async (t) => {
  const [snapshot] = JSON.parse(await hcloud('image', 'list', '--type', 'snapshot', '--output', 'json'));
  // As register labels it: the way there is test/cloud/hetzner.test.ts.
  const mine = ['clawdy-owner=clawdy-image', 'clawdy-base=debian-13', 'clawdy-image=debian-13-x', 'clawdy-run=r1'];
  for (const label of mine) await hcloud('image', 'add-label', String(snapshot.id), label);
  const cloud = await openFake(fake);
  const [image] = await cloud.list('fsn1');
  t.like(image, { imageId: String(snapshot.id), base: 'debian-13', channels: [] });
  await cloud.setChannel('fsn1', 'debian-13', 'latest', image);
  const page = readFileSync(join(ROOT, 'docs/clouds/hetzner.md'), 'utf8');
  const line = /^hcloud (image list .*)$/m.exec(page)?.[1] ?? '';
  t.is((await hcloud(...line.split(' '))).split('\n')[0]?.trim(), String(snapshot.id));
  await hcloud('server', 'delete', 'box');
  await hcloud('image', 'delete', String(snapshot.id));
  t.deepEqual(await cloud.list('fsn1'), []);
});

test.serial('makes a firewall, sets its rules, and finds by the documented lines what a launch has left', async (t) => {
  const label = ['clawdy-owner=clawdy-image', 'clawdy-temporary=yes', 'clawdy-launched=yes'];
  await hcloud('firewall', 'create', '--name', 'wall', ...label.flatMap((one) => ['--label', one]));
  const words = ['--direction', 'in', '--protocol', 'tcp', '--port', '20000-32767', '--source-ips', '198.51.100.0/24'];
  await hcloud('firewall', 'add-rule', ...words, 'wall');
  await hcloud('server', 'create', '--name', 'left', '--type', 'cx23', '--image', 'debian-13', '--firewall', 'wall');
  const [wall] = JSON.parse(await hcloud('firewall', 'list', '--output', 'json'));
  t.like(wall, { name: 'wall', rules: [{ port: '20000-32767' }], applied_to: [{ type: 'server' }] });
  const page = readFileSync(join(ROOT, 'docs/clouds/hetzner.md'), 'utf8');
  const line = /^hcloud (firewall list .*)$/m.exec(page)?.[1] ?? '';
  t.regex(await hcloud(...line.split(' ')), /wall/);
  await hcloud('firewall', 'remove-from-resource', '--type', 'server', '--server', 'left', 'wall');
  await hcloud('firewall', 'delete', 'wall');
  await hcloud('server', 'delete', 'left');
});

test.serial('is refused what is wrong', async (t) => {
  const wrong = ['--name', 'box', '--type', 'cx23', '--image', 'debian-13', '--label', `digest=${'a'.repeat(64)}`];
  const { message } = await t.throwsAsync(hcloud('server', 'create', ...wrong));
  t.regex(message, /exited with 1/);
});
