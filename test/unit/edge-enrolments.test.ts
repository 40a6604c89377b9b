import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateX25519Identity } from 'age-encryption';
import test from 'ava';
import { readLaunch, takeBundle } from '../../src/edge/enrolments.ts';
import { BuildError, EXIT } from '../../src/process/errors.ts';
import { key32 } from './edge-fixture.ts';

const work = mkdtempSync(join(tmpdir(), 'clawdy-enrolments-'));
test.after.always(() => rmSync(work, { recursive: true, force: true }));

const PROXY = 'https://auth.example.com';
const LAUNCH = { launchId: 'l-1', token: key32(), enrolmentUrl: `${PROXY}/.clawdy/enrol`, userKeys: [] };

test('a launch.json of another form, place or mode is refused, and its token never told', (t) => {
  const file = join(work, 'launch.json');
  const read = (content: unknown) => {
    writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content));
    chmodSync(file, 0o600);
    return readLaunch(file, PROXY);
  };
  t.deepEqual(read(LAUNCH), { launchId: 'l-1', token: LAUNCH.token, users: [] });
  const cases: [unknown, RegExp][] = [
    ['{', /isn't JSON/],
    [{ ...LAUNCH, token: `${LAUNCH.token}x` }, /launch.json: token isn't as it should be/],
    [{ ...LAUNCH, enrolmentUrl: 'https://other.example.com/enrol' }, /enrols at https:\/\/other/],
  ];
  for (const [content, message] of cases) {
    const error = t.throws(() => read(content), { instanceOf: BuildError, message });
    t.is(error?.exitCode, EXIT.input);
    t.false(`${error?.message}${error?.hint}`.includes(LAUNCH.token));
  }
  t.throws(() => readLaunch(join(work, 'none'), PROXY), { message: /can't be read/ });
  read(LAUNCH);
  chmodSync(file, 0o644);
  t.throws(() => readLaunch(file, PROXY), { message: /others than you may read/ });
});

test('a proxy that answers nonsense, or nothing, is an error with a way on', async (t) => {
  const secrets = { keks: [{ id: 'k', key: key32() }], sessionKeys: [{ id: 's', key: key32() }] };
  const mine = { version: 1, token: key32(), secrets } as const;
  const identity = await generateX25519Identity();
  const expected = { identity, token: LAUNCH.token, launchId: 'l-1', instanceId: 'i-1', isTaken: () => false };
  const take = (answer: () => Response, waitSeconds = 0) =>
    takeBundle(PROXY, { ...expected, waitSeconds, detail: () => {} }, mine, async () => answer());
  const refused = (message: RegExp) => ({ instanceOf: BuildError, message });
  await t.throwsAsync(
    take(() => Response.json({ state: 'odd' })),
    refused(/answers otherwise/),
  );
  await t.throwsAsync(
    take(() => new Response('no', { status: 500 })),
    refused(/500 no/),
  );
  const unreached = () => {
    throw new TypeError('fetch failed', { cause: new Error('ECONNREFUSED') });
  };
  await t.throwsAsync(take(unreached, 60), refused(/fetch failed: ECONNREFUSED/), 'at once, not after a minute');
  await t.throwsAsync(
    take(() => Response.json({ state: 'arrived', expires: 1, bundle: 'AAAA' })),
    refused(/truncated or damaged/),
  );
});
