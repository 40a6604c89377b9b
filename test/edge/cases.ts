import test from 'ava';
import { attackCases } from './cases-attacks.ts';
import { enrolmentCases } from './cases-enrolment.ts';
import { passCases } from './cases-pass.ts';
import { registryCases } from './cases-registry.ts';
import { signInCases } from './cases-sign-in.ts';
import { socketCases } from './cases-sockets.ts';
import { type Mode, makeWorld, type Started, type World } from './world.ts';

export interface Context {
  world: World;
  started: Started;
}
/** What a file's cases run against, from its first hook on: a process has one file. */
export const here = {} as Context;

/** All cases, in one runtime. They run one after the other and end with the search for secrets in what all of them got. */
export function cases(start: (world: World) => Promise<Started>, kv?: Mode): void {
  test.before(async () => {
    here.world = await makeWorld();
    here.started = await start(here.world);
  });
  test.after.always(async () => {
    await here.started?.close();
    await here.world?.close();
  });
  passCases();
  attackCases();
  signInCases();
  socketCases();
  registryCases();
  enrolmentCases(kv);

  test.serial('no code, token or cookie in any byte for a browser, or in the log', (t) => {
    const { world, started } = here;
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
