import { chmodSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { ENROLMENTS, ENTRIES } from '../../layers/06-cloudflare/edge/core/kinds.ts';
import { FileSpent, FileStore } from '../../layers/06-cloudflare/edge/node/files.ts';
import { readSecrets, readSettings } from '../../layers/06-cloudflare/edge/node/settings.ts';
import { selfSigned } from '../fakes/certificates.ts';
import { startNode } from './runtimes.ts';
import { signedIn } from './sign-in.ts';
import { makeWorld, OWNER, UI_DOMAIN } from './world.ts';

/** What only the Node server has. */
test.serial('a gate that shows another certificate gets no code', async (t) => {
  const world = await makeWorld();
  const started = await startNode(world);
  try {
    const good = await world.instance('access');
    const other = selfSigned(world.work, 'other', ['gate.test']);
    const origin = { host: '127.0.0.1', port: world.gate.port, certificate: other.certificate };
    const pinned = await world.instance('access', { origin });
    const get = async (slug: string) => {
      const host = `${slug}.${UI_DOMAIN}`;
      return (await world.call('access', host, '/', { headers: await signedIn(world, 'access', host, OWNER) })).status;
    };
    t.is(await get(good.slug), 200);
    const before = world.gate.seen.length;
    t.is(await get(pinned.slug), 502);
    t.is(world.gate.seen.length, before);
    t.regex(started.logs(), /"unreachable".*(SELF_SIGNED|UNABLE_TO|DEPTH_ZERO|NOT_PINNED)/);
    const nobody = await world.instance('access', { origin: { ...origin, port: 1 } });
    t.is(await get(nobody.slug), 502);
    t.regex(started.logs(), /"unreachable".*ECONNREFUSED/);
  } finally {
    await started.close();
    await world.close();
  }
});

test.serial('settings and secrets are read as they must be; what counts once survives a restart', async (t) => {
  const world = await makeWorld();
  try {
    const secrets = join(world.work, 'secrets.json');
    writeFileSync(secrets, JSON.stringify(world.secrets), { mode: 0o600 });
    t.deepEqual(readSecrets(secrets), world.secrets);
    chmodSync(secrets, 0o640);
    t.throws(() => readSecrets(secrets), { message: /chmod 600/ });
    const file = join(world.work, 'edge.json');
    const pair = { certificate: 'a.crt', key: 'a.key' };
    const settings = { listen: {}, tls: pair, client: pair, state: 'state', secrets: 'secrets.json' };
    writeFileSync(file, JSON.stringify({ ...settings, edge: world.config('oidc') }));
    t.like(readSettings(file), { listen: { port: 443 }, secrets, tls: { key: join(world.work, 'a.key') } });
    const folder = join(world.work, 'spent');
    const now = () => 10_000;
    t.true(await new FileSpent(folder, now).spend('one', 10_001));
    t.false(await new FileSpent(folder, now).spend('one', 10_001));
    t.false(await new FileSpent(folder, () => 10_002).isSpent('one'), 'expired ones go');
    // What a killed process left half-written keeps nothing else from going.
    const launches = join(world.work, 'launches');
    const closed = (launchId: string, expires: number) =>
      ({ version: 1, launchId, expires, revision: 3, state: 'closed', bundleSha256: null }) as const;
    const store = new FileStore(launches, ENROLMENTS, now);
    await store.put(closed('old', 10_001));
    await store.put(closed('new', 99_999));
    writeFileSync(join(launches, 'cut.json.0b1c'), '{"ver');
    await new FileStore(launches, ENROLMENTS, () => 20_000).get('new');
    t.deepEqual(readdirSync(launches).sort(), ['cut.json.0b1c', 'new.json']);
    await t.throwsAsync(new FileSpent(folder, now).isSpent('../secrets.json'));
    await t.throwsAsync(new FileStore(folder, ENTRIES, now).get('../secrets'));
  } finally {
    await world.close();
  }
});
