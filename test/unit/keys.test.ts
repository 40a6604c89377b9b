import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { KeyJournal } from '../../src/keys/journal.ts';
import { type OpenRouterKeys, openRouterKeys } from '../../src/keys/openrouter.ts';
import { type Box, capsOf, disableKeys, revokeKeys, rotateKey } from '../../src/keys/rotate.ts';
import { keysDir } from '../../src/launch/places.ts';
import { BuildError, EXIT } from '../../src/process/errors.ts';
import { run } from '../../src/process/run.ts';
import { type FakeOpenRouter, startFakeOpenRouter } from '../fakes/openrouter.ts';
import { ROOT } from './launch-fixture.ts';

const work = mkdtempSync(join(tmpdir(), 'clawdy-keys-'));
process.env.XDG_STATE_HOME = work;
test.after.always(() => rmSync(work, { recursive: true, force: true }));

const caps = { limit: 20, limitReset: 'monthly', expiresAt: new Date('2027-01-01T00:00:00Z') } as const;
const options = { caps, graceMs: 3600_000 };
let number = 0;

/** A box that has what it was last given. */
class MemoryBox implements Box {
  readonly id = `local-${number++}`;
  readonly user = 'owner@example.com';
  key: string | null = null;
  async set(secret: string | null) {
    this.key = secret;
  }
  async digest() {
    return this.key === null ? null : createHash('sha256').update(this.key).digest('hex');
  }
}

async function withFake(body: (fake: FakeOpenRouter, api: OpenRouterKeys, box: MemoryBox) => Promise<void>) {
  const fake = await startFakeOpenRouter();
  try {
    await body(fake, openRouterKeys(fake.env), new MemoryBox());
  } finally {
    await fake.close();
  }
}

/** The keys that could be used. */
const usable = (fake: FakeOpenRouter) => [...fake.keys.values()].filter(({ disabled }) => !disabled);

test('a key is made with its caps, arrives, and takes over from the one before, which goes after a grace', (t) =>
  withFake(async (fake, api, box) => {
    t.like(await rotateKey(api, box, options), { disabled: 0, deleted: 0 });
    const [first] = usable(fake);
    t.is(box.key, first?.secret as string);
    t.like(first, { limit: 20, limit_reset: 'monthly', expires_at: '2027-01-01T00:00:00.000Z' });
    t.regex(first?.name ?? '', /^clawdy\/owner@example\.com\/local-\d+\/[0-9a-f]{12}$/);

    t.like(await rotateKey(api, box, options), { disabled: 1, deleted: 0 });
    t.deepEqual(
      usable(fake).map(({ secret }) => secret),
      [box.key as string],
    );
    t.is(fake.keys.size, 2);
    t.like(await rotateKey(api, box, { caps, graceMs: 0 }), { disabled: 1, deleted: 2 });
    t.is(fake.keys.size, 1);
    const listed = await api.list();
    t.deepEqual(
      listed.map(({ name, limit }) => [name, limit]),
      usable(fake).map(({ name, limit }) => [name, limit]),
    );
    // Nothing of a key is on disk.
    t.false(readFileSync(join(keysDir(), `${box.id}.json`), 'utf8').includes((box.key as string).slice(9, 30)));
  }));

/** Lets `at` calls to OpenRouter and the box take effect, of which the last one's answer is lost, and no other afterwards. */
function dying(
  api: OpenRouterKeys,
  box: MemoryBox,
  at: number,
): { api: OpenRouterKeys; box: Box; calls: () => number } {
  let calls = 0;
  const wrap = <T extends object>(target: T, names: string[]): T =>
    new Proxy(target, {
      get(_, name) {
        const member = Reflect.get(target, name);
        if (typeof member !== 'function' || !names.includes(String(name))) return member;
        return async (...words: unknown[]) => {
          if (calls >= at) throw new Error('killed');
          const result = await member.apply(target, words);
          if (++calls === at) throw new Error('killed');
          return result;
        };
      },
    });
  return {
    api: wrap(api, ['list', 'create', 'disable', 'remove', 'takes']),
    box: wrap(box as Box, ['set', 'digest']),
    calls: () => calls,
  };
}

test('killed after any call, the next run ends with one key, which the box has, and no other that works', (t) =>
  withFake(async (fake, api) => {
    const whole = dying(api, new MemoryBox(), Number.POSITIVE_INFINITY);
    await rotateKey(whole.api, whole.box, options);
    const before = whole.calls();
    await rotateKey(whole.api, whole.box, { caps, graceMs: 0 });
    const count = whole.calls() - before;
    t.true(count >= 6, `${count}`);
    for (let at = 1; at <= count; at++) {
      fake.keys.clear();
      const box = new MemoryBox();
      await rotateKey(api, box, options);
      const killed = dying(api, box, at);
      await t.throwsAsync(rotateKey(killed.api, killed.box, { caps, graceMs: 0 }), { message: 'killed' });
      // In between either works.
      t.true(
        usable(fake).some(({ secret }) => secret === box.key),
        `${at}`,
      );
      await rotateKey(api, box, { caps, graceMs: 0 });
      t.deepEqual(
        [...fake.keys.values()].map(({ secret }) => secret),
        [box.key as string],
        `killed after call ${at}`,
      );
    }
  }));

test('disabled keys work no more until the next rotation; revoked ones are gone, on the box too', (t) =>
  withFake(async (fake, api, box) => {
    await rotateKey(api, box, options);
    t.is(await disableKeys(api, box), 1);
    t.deepEqual(usable(fake), []);
    t.is(await disableKeys(api, box), 0);
    await rotateKey(api, box, options);
    t.is(usable(fake).length, 1);
    // A box that is away keeps nothing that works.
    const away = new Proxy(box as Box, {
      get: (target, name) =>
        name === 'set' ? () => Promise.reject(new BuildError('ops', 'away', '')) : Reflect.get(target, name),
    });
    await t.throwsAsync(revokeKeys(api, away), { message: 'away' });
    t.is(fake.keys.size, 0);
    t.is(await revokeKeys(api, box), 0);
    t.is(box.key, null);
  }));

test('a key that doesn’t arrive, or isn’t taken, replaces nothing', (t) =>
  withFake(async (fake, api, box) => {
    await rotateKey(api, box, options);
    const kept = box.key;
    const deaf = Object.assign(Object.create(box), { set: async () => {} });
    await t.throwsAsync(rotateKey(api, deaf, options), { message: /doesn't have the key that it was given/ });
    const refused: OpenRouterKeys = { ...api, takes: async () => false };
    await t.throwsAsync(rotateKey(refused, box, options), { message: /refuses the key that it has just made/ });
    t.is(box.key, kept);
    t.true(usable(fake).some(({ secret }) => secret === kept));
  }));

test('faults pass or are a clear error, and none has a secret in it', (t) =>
  withFake(async (fake, api, box) => {
    let left = 2;
    fake.refuse = (call) => (call.startsWith('GET') && left-- > 0 ? 429 : undefined);
    t.deepEqual(await api.list(), []);
    fake.refuse = undefined;
    fake.lose = (call) => call.startsWith('POST');
    const lost = (await t.throwsAsync(rotateKey(api, box, options), { instanceOf: BuildError })) as BuildError;
    t.regex(lost.message, /creating a key: /);
    fake.lose = undefined;
    await rotateKey(api, box, options);
    t.is(fake.keys.size, 1, 'the one whose answer was lost is gone');
    const wrong = openRouterKeys({ ...fake.env, OPENROUTER_MANAGEMENT_KEY: 'sk-or-v1-wrong-and-secret' });
    const error = (await t.throwsAsync(wrong.list(), { message: /OpenRouter answered 401/ })) as BuildError;
    t.is(error.exitCode, EXIT.input);
    t.false(JSON.stringify([error, error.cause, error.stack]).includes('wrong-and-secret'));
    t.throws(() => openRouterKeys({}), { message: /OPENROUTER_MANAGEMENT_KEY is not set/ });
    // The scan of the journal can fail: a broken one is left as it is.
    const file = join(keysDir(), 'local-broken.json');
    writeFileSync(file, '{"version":1}');
    t.throws(() => KeyJournal.open('local-broken'), { message: /can't be read/ });
    t.is(readFileSync(file, 'utf8'), '{"version":1}');
  }));

// It moves the state's folder for a moment, so nothing else runs.
test.serial('another operator, a lost journal, a key deleted elsewhere: one key is left, which the box has', (t) =>
  withFake(async (fake, api, box) => {
    const elsewhere = async <T>(act: () => Promise<T>): Promise<T> => {
      process.env.XDG_STATE_HOME = mkdtempSync(join(work, 'other-'));
      try {
        return await act();
      } finally {
        process.env.XDG_STATE_HOME = work;
      }
    };
    const one = () =>
      t.deepEqual(
        usable(fake).map(({ secret }) => secret),
        [box.key as string],
      );
    const now = { caps, graceMs: 0 };
    await rotateKey(api, box, now);
    await elsewhere(() => rotateKey(api, box, now));
    one();
    // This machine's journal has one that isn't there any more, and doesn't know the one that is.
    await rotateKey(api, box, now);
    one();
    await elsewhere(async () => t.is(await revokeKeys(api, box), 1));
    t.is(fake.keys.size, 0);
    await rotateKey(api, box, now);
    fake.keys.clear();
    await rotateKey(api, box, now);
    one();

    // On its way to the box when its operator was cut: it works, so it is disabled.
    const set = {
      value: async (secret: string | null) => {
        box.key = secret;
        throw new Error('cut');
      },
    };
    await t.throwsAsync(rotateKey(api, Object.create(box, { set }), now), { message: 'cut' });
    t.is(usable(fake).length, 2);
    t.is(await disableKeys(api, box), 2);
    t.deepEqual(usable(fake), []);
  }),
);

test('a successor has the caps and the life of the key before', (t) =>
  withFake(async (_fake, api, box) => {
    t.is(await capsOf(api, box), undefined);
    const expiresAt = new Date(Date.now() + 90 * 86_400_000);
    await rotateKey(api, box, { caps: { ...caps, expiresAt }, graceMs: 0 });
    const next = await capsOf(api, box);
    t.like(next, { limit: 20, limitReset: 'monthly' });
    t.true(Math.abs((next?.expiresAt?.getTime() as number) - expiresAt.getTime()) < 60_000);
  }));

test('more keys than a page holds are all seen', (t) =>
  withFake(async (fake, api) => {
    for (let index = 0; index < 205; index++) await api.create(`clawdy/a/b/${index}`, { ...caps, expiresAt: null });
    t.is((await api.list()).length, 205);
    t.is(fake.calls.filter((call) => call === 'GET /keys').length, 4);
  }));

test('the command needs its key from the environment, and a user who has instances', async (t) => {
  const env = { XDG_STATE_HOME: join(work, 'empty'), OPENROUTER_MANAGEMENT_KEY: '' };
  const keys = (...words: string[]) =>
    run('node', ['build.ts', 'keys', ...words], { step: 'test', cwd: ROOT, env, ok: [0, 1, 2, 3] });
  t.like(await keys('list'), { exitCode: EXIT.input });
  const nobody = await keys('revoke', '--user', 'nobody@example.com', '--yes');
  t.is(nobody.exitCode, EXIT.input);
  t.regex(nobody.stderr, /nobody@example\.com has no instance here/);
  t.regex((await keys('create', '--user', 'a', '--limit', 'much')).stderr, /an amount in USD/);
  t.false(existsSync(join(work, 'empty', 'clawdy', 'keys')));
});
