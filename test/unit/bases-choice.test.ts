import { readFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import test from 'ava';
import { execa } from 'execa';
import { baseNames, keyFile, loadBase } from '../../src/base/bases.ts';
import { chooseBase, DEFAULT_BASE, FALLBACK_BASE, fallbackWarning } from '../../src/base/choose.ts';
import { Unreachable } from '../../src/base/download.ts';
import { refuseFallback } from '../../src/manifest/image.ts';
import type { BuildError } from '../../src/process/errors.ts';
import { cacheFiles, place, refused, ubuntu, work } from './vendor-place.ts';

/** Refuses connections: what listened there has gone. */
let down: string;
test.before(async () => {
  const gone = createServer();
  await new Promise<void>((resolve) => gone.listen(0, '127.0.0.1', resolve));
  down = `http://127.0.0.1:${(gone.address() as AddressInfo).port}/`;
  gone.close();
});

/** Answers for one path with a status, or by hanging up. */
function broken(path: string, how: number | 'hang up') {
  return (asked: string, response: ServerResponse) => {
    if (asked !== path) return false;
    if (how === 'hang up') response.destroy();
    else response.writeHead(how).end();
    return true;
  };
}

test.serial('a place where nobody answers for the list, or a server in trouble, is unreachable, at once', async (t) => {
  const startedAt = performance.now();
  t.true((await refused(down)) instanceof Unreachable);
  for (const how of [500, 503, 'hang up'] as const) {
    place.answer = broken('SHA256SUMS', how);
    t.true((await refused(place.url)) instanceof Unreachable, String(how));
  }
  t.true(performance.now() - startedAt < 5000);
  t.deepEqual(cacheFiles(), []);
});

test.serial('a place that answers is never unreachable: what it lacks or keeps back is an error', async (t) => {
  for (const [path, how, why] of [
    ['SHA256SUMS', 404, /SHA256SUMS: HTTP 404/],
    ['SHA256SUMS', 403, /SHA256SUMS: HTTP 403/],
    ['SHA256SUMS.gpg', 404, /SHA256SUMS\.gpg: HTTP 404/],
    ['SHA256SUMS.gpg', 503, /SHA256SUMS\.gpg: HTTP 503/],
    ['SHA256SUMS.gpg', 'hang up', /SHA256SUMS\.gpg: /],
  ] as const) {
    place.answer = broken(path, how);
    const error = await refused(place.url);
    t.false(error instanceof Unreachable, `${path} ${how}`);
    t.regex(error.message, why);
    const chosen = await t.throwsAsync(withVendorSite(place.url, () => chooseBase({ mayFallBack: true })));
    t.regex(chosen?.message ?? '', why, 'and nothing falls back');
  }
  t.false((await refused(join(work, 'nowhere'))) instanceof Unreachable);
  t.deepEqual(cacheFiles(), []);
});

test.serial(
  'a proxy that lets nobody through is a reason to fall back; a wrong certificate and a maze are none',
  async (t) => {
    const real = globalThis.fetch;
    const fail = (code: string) => {
      globalThis.fetch = async () => {
        throw new TypeError('fetch failed', { cause: Object.assign(new Error(code), { code }) });
      };
      return chooseBase({ mayFallBack: true });
    };
    try {
      for (const code of ['ENOTFOUND', 'EAI_AGAIN', 'ETIMEDOUT', 'UND_ERR_CONNECT_TIMEOUT', 'UND_ERR_ABORTED'])
        t.is((await fail(code)).base.id, FALLBACK_BASE, code);
      for (const code of ['CERT_HAS_EXPIRED', 'ERR_TLS_CERT_ALTNAME_INVALID', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'])
        t.regex((await t.throwsAsync<BuildError>(fail(code)))?.hint ?? '', /NODE_EXTRA_CA_CERTS/);
    } finally {
      globalThis.fetch = real;
    }
    place.answer = (_path, response) => {
      response.writeHead(302, { location: '/maze' }).end();
      return true;
    };
    const maze = await refused(place.url);
    t.regex(maze.message, /redirect count exceeded/);
    t.false(maze instanceof Unreachable);
  },
);

/** `fetch` as it is where the vendor's site is down, or serves what our place does. */
async function withVendorSite<T>(at: string, work: () => Promise<T>): Promise<T> {
  const real = globalThis.fetch;
  globalThis.fetch = (asked, init) => real(String(asked).replace(ubuntu.url, at), init);
  try {
    return await work();
  } finally {
    globalThis.fetch = real;
  }
}

test.serial('the default base that is down is replaced, and the reason is kept', async (t) => {
  const chosen = await withVendorSite(down, () => chooseBase({ mayFallBack: true }));
  t.is(chosen.base.id, FALLBACK_BASE);
  t.is(chosen.vendor, undefined);
  t.is(chosen.fallback?.requested, DEFAULT_BASE);
  t.regex(chosen.fallback?.reason ?? '', /SHA256SUMS: .*ECONNREFUSED/);
  const warning = fallbackWarning(chosen.fallback as NonNullable<typeof chosen.fallback>);
  t.regex(warning, /UBUNTU-24\.04 CAN'T BE REACHED: THIS IMAGE WILL BE DEBIAN-13/);
});

test.serial(
  'nothing is replaced where the base or its place was named, or where a fall-back is forbidden',
  async (t) => {
    const unreachable = { instanceOf: Unreachable };
    await t.throwsAsync(
      withVendorSite(down, () => chooseBase({ name: DEFAULT_BASE, mayFallBack: true })),
      unreachable,
    );
    await t.throwsAsync(
      withVendorSite(down, () => chooseBase({ mayFallBack: false })),
      unreachable,
    );
    await t.throwsAsync(chooseBase({ mayFallBack: true, mirror: { from: down } }), unreachable);
  },
);

test.serial('nothing is replaced in CI, and the error says what to name', async (t) => {
  process.env.CI = '1';
  t.teardown(() => delete process.env.CI);
  const error = await t.throwsAsync<BuildError>(withVendorSite(down, () => chooseBase({ mayFallBack: true })));
  t.true(error instanceof Unreachable);
  t.regex(error?.hint ?? '', /name a base, CLAWDY_BASE=debian-13/);
});

test.serial(
  'a default base that answers with a wrong signature is an error, never a reason to fall back',
  async (t) => {
    const error = await t.throwsAsync(withVendorSite(place.url, () => chooseBase({ mayFallBack: true })));
    t.false(error instanceof Unreachable);
    t.regex((error as BuildError).message, /isn't signed by/);
    t.deepEqual(cacheFiles(), []);
  },
);

test.serial('an image that had to fall back is refused by whoever hands images on', (t) => {
  const base = { id: FALLBACK_BASE, sha256: '0'.repeat(64) };
  t.notThrows(() => refuseFallback({ id: 'asked-for', base }));
  const fallback = { requested: DEFAULT_BASE, reason: 'HTTP 503' };
  t.throws(() => refuseFallback({ id: 'fallen-back', base: { ...base, fallback } }), {
    message: /fallen-back is debian-13 because ubuntu-24\.04 couldn't be reached \(HTTP 503\)/,
  });
});

test.serial('every base is well-formed, and its keys are those whose fingerprints the README states', async (t) => {
  t.deepEqual(baseNames(), ['debian-12', 'debian-13', 'ubuntu-24.04', 'ubuntu-26.04']);
  const readme = readFileSync(join(import.meta.dirname, '../../src/base/keys/README.md'), 'utf8').replaceAll(/\s/g, '');
  for (const base of baseNames().map(loadBase)) {
    if (base.kind !== 'vendor') continue;
    for (const file of [keyFile(base.key), keyFile(base.archive.key)]) {
      const { stdout } = await execa('gpg', ['--batch', '--with-colons', '--show-keys', file]);
      const fingerprints = [...stdout.matchAll(/^fpr:+([0-9A-F]{40}):/gm)].map((match) => match[1] as string);
      t.true(fingerprints.length > 0 && fingerprints.every((print) => readme.includes(print)), file);
      if (file === keyFile(base.key)) t.deepEqual(base.fingerprints, fingerprints);
    }
  }
});
