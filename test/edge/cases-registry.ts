import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { sealEntry } from '../../layers/06-cloudflare/edge/core/envelope.ts';
import type { Facts } from '../../src/contract/edge.ts';
import { here } from './cases.ts';
import { signedIn } from './sign-in.ts';
import { MODES, newCode, UI_DOMAIN } from './world.ts';

export function registryCases(): void {
  for (const mode of MODES) {
    test.serial(
      `${mode}: a rotation reaches the registry, nothing older comes back, a revocation ends it`,
      async (t) => {
        const { world, started } = here;
        const { slug, code, entry } = await world.instance(mode);
        const host = `${slug}.${UI_DOMAIN}`;
        const who = await signedIn(world, mode, host);
        const get = () => world.call(mode, host, '/', { headers: { ...who, accept: 'text/html' } });
        t.is((await get()).status, 200);
        // The instance has committed before the registry knew: a page, and a line for the operator.
        const next = newCode();
        world.gate.codes.delete(code);
        world.gate.codes.set(next, slug);
        const out = await get();
        t.is(out.status, 502);
        t.regex(out.text, /Unreachable/);
        const line = `"event":"out-of-step","slug":"${slug}","revision":1,"said":"code_required"`;
        // The runtime writes its log when it has time.
        for (let tries = 0; tries < 100 && !started.logs().includes(line); tries++) await sleep(100);
        t.true(started.logs().includes(line), started.logs());
        const { code: _code, ...facts } = entry;
        const rotated = await sealEntry({ ...facts, revision: 2 } as Facts, next, world.secrets.keks);
        const taken = await world.put(mode, rotated);
        t.is(taken.status, 201);
        t.deepEqual(JSON.parse(taken.text), { slug, state: 'live', revision: 2, reached: 200 }, 'with the very code');
        t.is((await get()).status, 200);
        t.is((await world.put(mode, rotated)).status, 201, 'the same again');
        t.is((await world.put(mode, entry)).status, 409, 'the old one');
        const stray = await sealEntry({ ...facts, revision: 3 } as Facts, newCode(), world.secrets.keks);
        t.is(JSON.parse((await world.put(mode, stray)).text).reached, 401, 'a code that the gate doesn’t take');
        t.is(
          (await world.put(mode, await sealEntry({ ...facts, revision: 4 } as Facts, next, world.secrets.keks))).status,
          201,
        );
        t.is((await get()).status, 200);
        t.is((await world.put(mode, { version: 1, slug, revision: 5, state: 'revoked' })).status, 201);
        t.is((await get()).status, 403);
        t.is((await world.put(mode, rotated)).status, 409);
        world.gate.codes.set(code, slug);
      },
    );

    test.serial(`${mode}: the registry is changed with token and key, not with one of them`, async (t) => {
      const { world } = here;
      const { slug, code, entry } = await world.instance(mode);
      const { code: sealed, ...facts } = entry;
      const path = `/.clawdy/registry/${slug}`;
      const ask = (host: string, headers: Record<string, string>) => world.call(mode, host, path, { headers });
      const authorization = `Bearer ${world.adminToken}`;
      const told = await ask(`auth.${UI_DOMAIN}`, { authorization });
      t.deepEqual(JSON.parse(told.text), { slug, state: 'live', revision: 1 });
      t.is((await ask(`auth.${UI_DOMAIN}`, {})).status, 401);
      t.is((await ask(`auth.${UI_DOMAIN}`, { authorization: `Bearer ${newCode()}` })).status, 401);
      t.is((await ask(`${slug}.${UI_DOMAIN}`, { authorization })).status, 404, 'no other host has it');
      t.is((await world.put(mode, { version: 1, slug, revision: 9, state: 'revoked' }, newCode())).status, 401);
      const forged = { ...facts, revision: 2, shares: ['eve@example.com'], code: sealed };
      t.is((await world.put(mode, forged)).status, 400, 'sealed for other facts');
      const other = await sealEntry({ ...facts, revision: 2 } as Facts, code, [{ id: 'kek-1', key: newCode() }]);
      t.is((await world.put(mode, other)).status, 400, 'sealed with another key');
    });
  }

  test.serial('an entry that was changed where it lies gives nobody the code', async (t) => {
    const { world, started } = here;
    const { slug, entry } = await world.instance('access');
    const host = `${slug}.${UI_DOMAIN}`;
    const get = async (user: string) =>
      (await world.call('access', host, '/', { headers: await signedIn(world, 'access', host, user) })).status;
    t.is(await get('owner@example.com'), 200);
    await started.tamper({ ...entry, owner: 'eve@example.com' });
    const before = world.gate.seen.length;
    t.is(await get('eve@example.com'), 502);
    await started.tamper({ ...entry, origin: { ...entry.origin, host: 'localhost' } });
    t.is(await get('owner@example.com'), 502);
    t.is(world.gate.seen.length, before);
    await started.tamper(entry);
    t.is(await get('owner@example.com'), 200);
  });
}
