import test from 'ava';
import type { Echo } from '../fakes/gate.ts';
import { raw } from './call.ts';
import { here } from './cases.ts';
import { signedIn } from './sign-in.ts';
import { APPS_DOMAIN, UI_DOMAIN } from './world.ts';

/** Requests that aren't what they seem. */
export function attackCases(): void {
  test.serial('hosts: the request’s own name counts, in its plain form', async (t) => {
    const { world } = here;
    const [mine, other] = [
      await world.instance('access'),
      await world.instance('access', { owner: 'eve@example.com' }),
    ];
    const host = `${mine.slug}.${UI_DOMAIN}`;
    const port = world.ports.access;
    const headers = await signedIn(world, 'access', host);
    const otherHost = `${other.slug}.${UI_DOMAIN}`;
    t.is((await world.call('access', host, '/', { headers })).status, 200);
    t.is((await world.call('access', otherHost, '/', { headers })).status, 403);
    const forged = { ...headers, 'x-forwarded-host': host, forwarded: `host=${host}`, 'x-original-host': host };
    t.is((await world.call('access', otherHost, '/', { headers: forged })).status, 403);
    const names = [
      host,
      `${host}.:${port}`,
      `${host}:1`,
      `evil.test:${port}`,
      `${UI_DOMAIN}:${port}`,
      `127.0.0.1:${port}`,
    ];
    for (const name of names) {
      const { status } = await world.call('access', 'unknown.test', '/', { headers: { ...headers, host: name } });
      t.is(status, 421, name);
    }
    const before = world.gate.seen.length;
    const lines = (first: string, hosts: string[]) =>
      `${first}\r\n${hosts.map((one) => `Host: ${one}\r\n`).join('')}cf-access-jwt-assertion: ${headers['cf-access-jwt-assertion']}\r\nConnection: close\r\n\r\n`;
    const plain = [`${host}:${port}`];
    const control = await raw(port, world.tls.edge.certificate, host, lines('GET /raw HTTP/1.1', plain));
    t.regex(control, /^HTTP\/1.1 200 /);
    const twice = [...plain, `${otherHost}:${port}`];
    // Refused, or judged by the one name that is answered for: never one name judged and the other's instance asked.
    for (const bytes of [
      lines('GET /raw HTTP/1.1', twice),
      lines(`GET https://${otherHost}:${port}/raw HTTP/1.1`, plain),
    ]) {
      const answer = await raw(port, world.tls.edge.certificate, host, bytes);
      t.false(answer.includes(`"instance":"${other.slug}"`), answer);
    }
    t.true(world.gate.seen.length <= before + 3);
  });

  test.serial('smuggling: one request stays one', async (t) => {
    const { world } = here;
    const { slug } = await world.instance('access');
    const host = `${slug}.${UI_DOMAIN}`;
    const port = world.ports.access;
    const token = (await signedIn(world, 'access', host))['cf-access-jwt-assertion'];
    const origin = `https://${host}:${port}`;
    const begin = (method: string, path: string) =>
      `${method} ${path} HTTP/1.1\r\nHost: ${host}:${port}\r\ncf-access-jwt-assertion: ${token}\r\nOrigin: ${origin}\r\n`;
    const hidden = `GET /smuggled HTTP/1.1\r\nHost: ${host}:${port}\r\n\r\n`;
    const chunk = `${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`;
    const cl = `Content-Length: ${hidden.length}\r\n`;
    const attacks: Record<string, string> = {
      'DELETE with chunks': `${begin('DELETE', '/one')}Transfer-Encoding: chunked\r\n\r\n${chunk}`,
      'OPTIONS with chunks': `${begin('OPTIONS', '/one')}Transfer-Encoding: chunked\r\n\r\n${chunk}`,
      'GET with a length': `${begin('GET', '/one')}${cl}\r\n${hidden}`,
      'GET with chunks': `${begin('GET', '/one')}Transfer-Encoding: chunked\r\n\r\n${chunk}`,
      'CL.TE': `${begin('POST', '/one')}${cl}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n${hidden}`,
      'TE.CL': `${begin('POST', '/one')}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n${chunk}`,
      'odd TE': `${begin('POST', '/one')}${cl}Transfer-Encoding: xchunked\r\n\r\n${hidden}`,
      'two lengths': `${begin('POST', '/one')}Content-Length: 0\r\n${cl}\r\n${hidden}`,
      'a length named by Connection': `${begin('POST', '/one')}Connection: content-length\r\n${cl}\r\n${hidden}`,
      'a folded header': `${begin('POST', '/one')}X-A: b\r\n Transfer-Encoding: chunked\r\n${cl}\r\n${hidden}`,
      'a bare line feed in a header': `${begin('POST', '/one')}X-A: b\nx-clawdy-user: eve\r\n${cl}\r\n${hidden}`,
    };
    const control = `${begin('POST', '/control')}${cl}\r\n${hidden}`;
    t.regex(await raw(port, world.tls.edge.certificate, host, control), /^HTTP\/1.1 200 /);
    t.true(world.gate.seen.includes('POST /control'));
    for (const [name, bytes] of Object.entries(attacks)) {
      const answer = await raw(port, world.tls.edge.certificate, host, bytes);
      world.received.push(answer);
      // The proxy itself may see a second request on its own connection; it has no session and goes nowhere.
      t.false(
        world.gate.seen.some((one) => one.includes('smuggled')),
        name,
      );
      t.false(answer.includes('"eve"'), name);
    }
    // And the connection to the gate is still in step.
    const { text } = await world.call('access', host, '/after', { headers: { 'cf-access-jwt-assertion': token } });
    t.is((JSON.parse(text) as Echo).path, '/after');
  });

  test.serial('other sites’ pages change nothing', async (t) => {
    const { world } = here;
    const { slug } = await world.instance('access');
    const host = `${slug}.${UI_DOMAIN}`;
    const own = `https://${host}:${world.ports.access}`;
    const who = await signedIn(world, 'access', host);
    const ask = async (method: string, headers: Record<string, string>) =>
      (await world.call('access', host, '/do', { method, headers: { ...who, ...headers } })).status;
    t.is(await ask('POST', { origin: own, 'sec-fetch-site': 'same-origin' }), 200);
    const before = world.gate.seen.length;
    t.is(await ask('POST', { origin: 'https://evil.test', 'sec-fetch-site': 'cross-site' }), 403);
    t.is(await ask('POST', { origin: `https://3000--${slug}.${APPS_DOMAIN}`, 'sec-fetch-site': 'cross-site' }), 403);
    t.is(await ask('POST', { origin: 'https://evil.test' }), 403, 'an old browser');
    t.is(await ask('POST', {}), 403);
    t.is(await ask('GET', { 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty' }), 403);
    t.is(
      await ask('GET', { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'iframe' }),
      403,
    );
    t.is(world.gate.seen.length, before);
    const followed = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' };
    t.is(await ask('GET', followed), 200, 'a link may be followed');
  });
}
