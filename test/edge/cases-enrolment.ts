import { createHash, createHmac } from 'node:crypto';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import test from 'ava';
import { ENROL_LIMIT, ENROL_PATH, ENROL_RATE } from '../../src/contract/edge-enrolment.ts';
import { BUNDLE_LIMIT, MAC_LABELS } from '../../src/contract/enrolment.ts';
import { expectLaunch, takeBundle, withdrawLaunch } from '../../src/edge/enrolments.ts';
import { BuildError } from '../../src/process/errors.ts';
import { BUNDLE, envelope, seal } from '../unit/launch-fixture.ts';
import { here } from './cases.ts';
import { MODES, type Mode, newCode, UI_DOMAIN } from './world.ts';

const HOST = `auth.${UI_DOMAIN}`;

/** A launch, its operator, and its box. */
async function newLaunch(mode: Mode) {
  const { world } = here;
  const identity = await generateX25519Identity();
  const launchId = `launch-${newCode().slice(0, 8)}`;
  const [token, instanceId] = [newCode(), `i-${launchId}`];
  const mine = { version: 1, token: world.adminToken, secrets: world.secrets } as const;
  const ask = world.fetch(mode);
  const body = { ...BUNDLE, launchId, instanceId };
  const sealed = await seal(await envelope(body, token), await identityToRecipient(identity));
  /** As boot/enrol makes it. */
  const requestWith = (bytes: Uint8Array, by = token) => {
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const proven = `${MAC_LABELS.enrol}${launchId}\n${instanceId}\n${sha256}`;
    const proof = createHmac('sha256', by).update(proven).digest('hex');
    return { version: 1, launchId, instanceId, bundle: Buffer.from(bytes).toString('base64'), proof };
  };
  return {
    ...{ launchId, token, instanceId, sealed, body, requestWith, recipient: await identityToRecipient(identity) },
    bring: (request: unknown, path = ENROL_PATH, method = 'POST') =>
      world.call(mode, HOST, path, { method, body: typeof request === 'string' ? request : JSON.stringify(request) }),
    expect: (seconds = 600) => expectLaunch(`https://${HOST}`, { launchId, token }, now() + seconds, mine, ask),
    take: (change = {}) => {
      const expected = { identity, token, launchId, instanceId, isTaken: () => false, waitSeconds: 0, ...change };
      return takeBundle(`https://${HOST}`, { ...expected, detail: () => {} }, mine, ask);
    },
    withdraw: () => withdrawLaunch(`https://${HOST}`, { launchId, token }, mine, ask),
    tell: () => world.call(mode, HOST, `/.clawdy/enrolments/${launchId}`, { headers: bearer(world.adminToken) }),
  };
}

const now = () => Math.floor(Date.now() / 1000);
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

/** @param kv of a mode whose registry is KV's: nobody enrols there. */
export function enrolmentCases(kv?: Mode): void {
  if (kv)
    test.serial(`${kv}: with KV nobody enrols, since a launch would be over a minute too late`, async (t) => {
      const launch = await newLaunch(kv);
      await t.throwsAsync(launch.expect(), { instanceOf: BuildError, message: /501 .*needs_durable_objects/ });
      t.is((await launch.bring(launch.requestWith(launch.sealed))).status, 404);
    });
  const modes = MODES.filter((mode) => mode !== kv);
  for (const mode of modes) {
    test.serial(`${mode}: a launch that is expected enrols once, and its token is gone then`, async (t) => {
      const { started } = here;
      const launch = await newLaunch(mode);
      const request = launch.requestWith(launch.sealed);
      t.is((await launch.bring(request)).status, 403, 'before it is expected');
      await launch.expect();
      await t.throwsAsync(launch.take(), { instanceOf: BuildError, message: /has brought nothing yet/ });
      t.is((await launch.bring(request)).status, 201);
      t.is((await launch.bring(request)).status, 409, 'the same again, whose acknowledgement was lost');
      const other = await seal(await envelope({ ...launch.body, imageId: 'other' }, launch.token), launch.recipient);
      t.is(
        (await launch.bring(launch.requestWith(other))).status,
        403,
        'a second one, by whoever got hold of the token',
      );
      const told = await launch.tell();
      t.false(told.text.includes(launch.token));
      const members = ['bundle', 'expires', 'instanceId', 'state'];
      t.deepEqual(Object.keys(JSON.parse(told.text)).sort(), members, 'no token, however sealed');
      t.like(JSON.parse(told.text), { state: 'arrived', instanceId: launch.instanceId });

      const wrong = { instanceOf: BuildError, message: /of instance/ };
      await t.throwsAsync(launch.take({ instanceId: 'i-of-the-cloud' }), wrong);
      t.deepEqual((await launch.take()).bundle, launch.body, 'taken, and not yet kept');
      const { bundle, close } = await launch.take();
      t.deepEqual(bundle, launch.body);
      await close();
      await close();
      await launch.withdraw();
      t.deepEqual(Object.keys(JSON.parse((await launch.tell()).text)).sort(), ['expires', 'state']);
      await t.throwsAsync(launch.take(), { message: /taken before/ });
      t.is((await launch.bring(request)).status, 409, 'the box may ask again');
      t.is((await launch.bring(launch.requestWith(other))).status, 403);
      await t.throwsAsync(launch.expect(), { message: /expected before/ }, 'not once more under the same ID');
      t.false(started.logs().includes(launch.token));
    });

    test.serial(`${mode}: what isn’t a sealed bundle with the launch’s proof is kept nowhere`, async (t) => {
      const launch = await newLaunch(mode);
      await launch.expect();
      const request = launch.requestWith(launch.sealed);
      const plain = new TextEncoder().encode(JSON.stringify(launch.body));
      const header = '-> X25519 ' + 'A'.repeat(43) + '\n' + 'B'.repeat(43) + '\n';
      const toTwo = new TextEncoder().encode(`age-encryption.org/v1\n${header}${header}--- ${'C'.repeat(43)}\n`);
      const cases: [string, number, unknown, string?, string?][] = [
        ['by another token', 403, launch.requestWith(launch.sealed, newCode())],
        ['for another bundle', 403, { ...request, bundle: Buffer.from(plain).toString('base64') }],
        ['of another instance', 403, { ...request, instanceId: 'i-other' }],
        ['of another launch', 403, { ...request, launchId: 'launch-other' }],
        ['in the clear', 400, launch.requestWith(plain)],
        ['to a second recipient', 400, launch.requestWith(toTwo)],
        ['with more members', 400, { ...request, code: 'x' }],
        ['not JSON', 400, '{"version":1'],
        ['no base64', 400, { ...request, bundle: '*' }],
        ['longer than a bundle may be', 400, launch.requestWith(new Uint8Array(BUNDLE_LIMIT + 3))],
        ['longer than is read', 413, 'x'.repeat(ENROL_LIMIT + 1)],
        ['by PUT', 405, request, ENROL_PATH, 'PUT'],
        ['below the path, where it is a foreign request', 403, request, `${ENROL_PATH}/x`],
      ];
      for (const [what, status, body, path, method] of cases)
        t.is((await launch.bring(body, path, method)).status, status, what);
      t.like(JSON.parse((await launch.tell()).text), { state: 'expected' });
      t.is((await launch.bring(request)).status, 201, 'and the right one still counts');
    });

    test.serial(
      `${mode}: only who has the operator’s token and key says what is expected, and not for ever`,
      async (t) => {
        const { world } = here;
        const launch = await newLaunch(mode);
        const path = `/.clawdy/enrolments/${launch.launchId}`;
        const put = (body: unknown, token = world.adminToken) =>
          world.call(mode, HOST, path, { method: 'PUT', headers: bearer(token), body: JSON.stringify(body) });
        const key = { kek: 'kek-1', key: 'A'.repeat(80), data: 'A'.repeat(95) };
        const forged = {
          version: 1,
          launchId: launch.launchId,
          expires: now() + 600,
          revision: 1,
          state: 'expected',
          token: key,
        };
        t.is((await put(forged)).status, 400, 'not sealed with the key');
        t.is((await put(forged, newCode())).status, 401);
        t.is((await world.call(mode, HOST, path, {})).status, 401);
        t.is((await world.call(mode, HOST, path, { headers: bearer(world.adminToken) })).status, 404);
        const arrived = { ...forged, revision: 2, state: 'arrived', instanceId: 'i-1', bundle: '' };
        t.is((await put(arrived)).status, 400, 'what has come is the box’s to bring');
        await t.throwsAsync(launch.expect(8 * 86_400), { message: /400 .*bad_enrolment/ });
        await launch.expect(-1);
        t.is((await launch.bring(launch.requestWith(launch.sealed))).status, 403, 'expired');
      },
    );
  }

  test.serial('a launch that was withdrawn enrols no more, nor is it expected again', async (t) => {
    const launch = await newLaunch(modes[0] as Mode);
    await launch.expect();
    await launch.withdraw();
    t.is((await launch.bring(launch.requestWith(launch.sealed))).status, 403);
    await t.throwsAsync(launch.expect(), { message: /expected before/ });
    await t.throwsAsync(launch.take(), { message: /taken before/ });
  });

  test.serial('whoever tries to enrol too often has to wait', async (t) => {
    const launch = await newLaunch(modes[0] as Mode);
    const bring = () => launch.bring({});
    // Earlier cases have had some of these tries, and a window may end meanwhile.
    let answer = await bring();
    for (let tries = 0; tries < 2 * ENROL_RATE.tries && answer.status === 400; tries++) answer = await bring();
    t.is(answer.status, 429);
    t.is(answer.headers['retry-after'], '60');
    t.is((await launch.tell()).status, 404, 'the operator’s way is open');
  });
}
