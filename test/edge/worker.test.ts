import test from 'ava';
import type { Echo } from '../fakes/gate.ts';
import { cases, here } from './cases.ts';
import { CF_BLOB, startWorkerd } from './runtimes.ts';
import { signedIn } from './sign-in.ts';
import { APPS_DOMAIN, UI_DOMAIN } from './world.ts';

cases(startWorkerd, 'access');

test.serial('Cloudflare is told for whom an instance is asked, whatever the visitor says', async (t) => {
  const { world } = here;
  const { slug } = await world.instance('access');
  const host = `${slug}.${UI_DOMAIN}`;
  const claims = { 'cf-connecting-ip': '192.0.2.9', 'x-real-ip': '198.51.100.1' };
  const { text } = await world.call('access', host, '/', {
    headers: { ...(await signedIn(world, 'access', host)), ...claims },
  });
  const named = (JSON.parse(text) as Echo).headers.filter(([name]) => name === 'x-real-ip');
  t.deepEqual(named, [['x-real-ip', '192.0.2.9']]);
});

test.serial('Cloudflare is told the instance’s name in the zone that the host is in', async (t) => {
  const { world } = here;
  const origin = { host: '127.0.0.1', port: world.gate.port, certificate: world.tls.gate.certificate };
  const asked = async (slug: string, host: string) => {
    const { status, text } = await world.call('access', host, '/', { headers: await signedIn(world, 'access', host) });
    if (status !== 200) return `${status} ${slug}`;
    const blob = (JSON.parse(text) as Echo).headers.find(([name]) => name === CF_BLOB.toLowerCase())?.[1];
    return JSON.parse(blob ?? '{}').resolveOverride;
  };
  const name = `box.${APPS_DOMAIN}`;
  const { slug } = await world.instance('access', { origin: { ...origin, appsHost: name } });
  t.is(await asked(slug, `${slug}.${UI_DOMAIN}`), '127.0.0.1');
  t.is(await asked(slug, `3000--${slug}.${APPS_DOMAIN}`), name);

  // One of another zone would be ignored, and the code sent to the host's own address.
  const { slug: astray } = await world.instance('access', { origin: { ...origin, appsHost: 'box.elsewhere.test' } });
  const before = world.gate.seen.length;
  t.is(await asked(astray, `3000--${astray}.${APPS_DOMAIN}`), `502 ${astray}`);
  t.is(world.gate.seen.length, before);
  t.is(await asked(astray, `${astray}.${UI_DOMAIN}`), '127.0.0.1');
});
