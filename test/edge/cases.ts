import anyTest, { type TestFn } from 'ava';
import { passCases } from './cases-pass.ts';
import { registryCases } from './cases-registry.ts';
import { signInCases } from './cases-sign-in.ts';
import { socketCases } from './cases-sockets.ts';
import { makeWorld, type Started, type World } from './world.ts';

export interface Context {
  world: World;
  started: Started;
}
export const test = anyTest as TestFn<Context>;

/** All cases, in one runtime. They run one after the other and end with the search for secrets in what all of them got. */
export function cases(start: (world: World) => Promise<Started>): void {
  let world: World | undefined;
  let context: Context;
  test.before(async () => {
    world = await makeWorld();
    context = { world, started: await start(world) };
  });
  test.beforeEach((t) => {
    t.context = context;
  });
  test.after.always(async () => {
    await context?.started.close();
    await world?.close();
  });
  passCases();
  signInCases();
  socketCases();
  registryCases();

  test.serial('no code, token or cookie in any byte for a browser, or in the log', (t) => {
    const { world, started } = context;
    const received = world.received.join('\n');
    // The search finds what is there.
    t.true(received.includes('"instance":"box-0"') && world.gate.codes.size > 5);
    for (const code of world.gate.codes.keys()) t.false(received.includes(code) || started.logs().includes(code));
    t.regex(started.logs(), /"event":"out-of-step"/);
    t.notRegex(started.logs(), /eyJ[\w-]{10}|__Host-clawdy|Bearer/);
    const { secrets, adminToken } = world;
    const keys = [...secrets.keks, ...secrets.sessionKeys].map(({ key }) => key);
    for (const secret of [...keys, adminToken, secrets.clientSecret as string])
      t.false(received.includes(secret) || started.logs().includes(secret));
  });
}
