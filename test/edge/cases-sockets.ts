import test from 'ava';
import { CLOSED } from '../../layers/06-cloudflare/edge/core/relay.ts';
import { open } from './call.ts';
import { here } from './cases.ts';
import { signedIn } from './sign-in.ts';
import { type Mode, OWNER, UI_DOMAIN, type World } from './world.ts';

/** Opens one as the page of its own host would. */
async function opened(world: World, mode: Mode, slug: string, who: Record<string, string>, origin?: string) {
  const host = `${slug}.${UI_DOMAIN}`;
  const own = `https://${host}:${world.ports[mode]}`;
  const headers = { ...who, origin: origin ?? own };
  return open(world.ports[mode], world.tls.edge.certificate, host, '/ws', headers, ['first', 'last']);
}

export function socketCases(): void {
  test.serial('a WebSocket carries text, bytes, its protocol and the code of its end', async (t) => {
    const { world } = here;
    const { slug } = await world.instance('access');
    const who = await signedIn(world, 'access', `${slug}.${UI_DOMAIN}`);
    const faked = { 'x-clawdy-user': 'eve', 'x-clawdy-code': 'wrong' };
    const client = await opened(world, 'access', slug, { ...who, ...faked });
    t.is(client.socket.protocol, 'last');
    const hello = String(await client.next());
    world.received.push(hello);
    t.deepEqual(
      JSON.parse(hello).hello.filter(([name]: string[]) => name?.startsWith('x-clawdy')),
      [['x-clawdy-user', OWNER]],
    );
    t.notRegex(hello, /eyJ|\beve\b/);
    client.socket.send('a text');
    t.is(await client.next(), 'a text');
    const bytes = Buffer.from(Array.from({ length: 70_000 }, (_, index) => index % 256));
    client.socket.send(bytes);
    t.true(bytes.equals((await client.next()) as Buffer));
    client.socket.send('close');
    t.deepEqual(await client.ended(), { code: 4100, reason: 'as asked' });
  });

  test.serial('a WebSocket of another site’s page, or of nobody, isn’t opened', async (t) => {
    const { world } = here;
    const { slug } = await world.instance('access');
    const who = await signedIn(world, 'access', `${slug}.${UI_DOMAIN}`);
    const control = await opened(world, 'access', slug, who);
    control.socket.close();
    const before = world.gate.seen.length;
    for (const origin of ['https://evil.test', 'null', `http://${slug}.${UI_DOMAIN}:${world.ports.access}`])
      await t.throwsAsync(opened(world, 'access', slug, who, origin), { message: /403/ }, origin);
    await t.throwsAsync(opened(world, 'access', slug, {}), { message: /401/ });
    const other = await signedIn(world, 'access', `${slug}.${UI_DOMAIN}`, 'eve@example.com');
    await t.throwsAsync(opened(world, 'access', slug, other), { message: /403/ });
    t.is(world.gate.seen.length, before);
  });

  test.serial('a WebSocket ends when the session does', async (t) => {
    const { world } = here;
    const { slug } = await world.instance('access');
    const host = `${slug}.${UI_DOMAIN}`;
    const exp = Math.floor(Date.now() / 1000) + 3;
    const short = await opened(world, 'access', slug, await signedIn(world, 'access', host, OWNER, { exp }));
    const long = await opened(world, 'access', slug, await signedIn(world, 'access', host));
    t.is((await short.ended()).code, CLOSED.sessionEnded);
    t.true(Date.now() / 1000 - exp < 2);
    t.is(long.socket.readyState, long.socket.OPEN, 'the other session goes on');
    long.socket.close();
  });

  test.serial('a WebSocket ends when its session is signed out', async (t) => {
    const { world } = here;
    const { slug } = await world.instance('oidc');
    const host = `${slug}.${UI_DOMAIN}`;
    const who = await signedIn(world, 'oidc', host);
    const [client, other] = [
      await opened(world, 'oidc', slug, who),
      await opened(world, 'oidc', slug, await signedIn(world, 'oidc', host)),
    ];
    const headers = { ...who, origin: `https://${host}:${world.ports.oidc}` };
    await world.call('oidc', host, '/.clawdy/logout', { method: 'POST', headers });
    t.is((await client.ended()).code, CLOSED.sessionEnded);
    t.is(other.socket.readyState, other.socket.OPEN);
    other.socket.close();
  });

  for (const mode of ['access', 'oidc'] as const) {
    test.serial(`${mode}: a WebSocket ends when access is taken back or the instance is revoked`, async (t) => {
      const { world } = here;
      const { slug, entry } = await world.instance(mode);
      const host = `${slug}.${UI_DOMAIN}`;
      const client = await opened(world, mode, slug, await signedIn(world, mode, host));
      client.socket.send('still there');
      await client.next();
      t.is(await client.next(), 'still there');
      const revoked = { version: 1, slug, revision: entry.revision + 1, state: 'revoked' } as const;
      t.is((await world.put(mode, revoked)).status, 201);
      t.is((await client.ended()).code, CLOSED.accessGone);
    });
  }
}
