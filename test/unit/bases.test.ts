import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { execa } from 'execa';
import { baseNames, keyFile, loadBase, type VendorBase } from '../../src/base/bases.ts';
import { chooseBase, DEFAULT_BASE, FALLBACK_BASE, fallbackWarning } from '../../src/base/choose.ts';
import { Unreachable } from '../../src/base/download.ts';
import { fetchVendor, isSigned, vendorSource } from '../../src/base/vendor.ts';
import { refuseFallback } from '../../src/manifest/image.ts';
import { BuildError, EXIT } from '../../src/process/errors.ts';
import { makeTestKey, signFolder, type TestKey } from '../e2e/vendor-site.ts';

const work = mkdtempSync(join(tmpdir(), 'clawdy-bases-'));
process.env.XDG_CACHE_HOME = join(work, 'cache');
const ubuntu = loadBase('ubuntu-24.04') as VendorBase;
const IMAGE = ubuntu.image;
/** More than one chunk of any stream. */
const CONTENT = Buffer.alloc(3 * 1024 * 1024, 'a vendor’s image');

let key: TestKey;
let other: TestKey;
let site: Server;
let url: string;
/** How the site answers for one path; the default is the signed folder as it is. */
let answer: ((path: string, response: ServerResponse) => boolean) | undefined;

// CI, where this may run, never falls back.
delete process.env.CI;

test.before(async () => {
  [key, other] = await Promise.all([makeTestKey('vendor'), makeTestKey('stranger')]);
  site = createServer((request, response) => {
    const path = (request.url ?? '').slice(1);
    if (answer?.(path, response)) return;
    const file = join(folder, path);
    if (!existsSync(file)) response.writeHead(404).end();
    else response.end(readFileSync(file));
  });
  await new Promise<void>((resolve) => site.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(site.address() as AddressInfo).port}/`;
});

test.after.always(async () => {
  site.closeAllConnections();
  site.close();
  await Promise.all([key.close(), other.close()]);
  rmSync(work, { recursive: true, force: true });
});

const folder = join(work, 'folder');

test.beforeEach(async () => {
  answer = undefined;
  for (const dir of [folder, join(work, 'cache')]) rmSync(dir, { recursive: true, force: true });
  mkdirSync(folder);
  writeFileSync(join(folder, IMAGE), CONTENT);
  await signFolder(folder, key);
});

/** Files anywhere in the cache, locks included. */
function cacheFiles(): string[] {
  const dir = join(work, 'cache');
  return existsSync(dir)
    ? readdirSync(dir, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name))
    : [];
}

async function refused(from: string, trusted = key.file, base = ubuntu): Promise<BuildError> {
  try {
    await fetchVendor(base, { from, key: trusted });
  } catch (error) {
    if (error instanceof BuildError) return error;
    throw error;
  }
  throw new Error('it was taken');
}

for (const [name, from] of [
  ['a folder', () => folder],
  ['a mirror', () => url],
] as const) {
  test.serial(`the control: what the vendor signed is taken from ${name}, and cached whole`, async (t) => {
    const said: string[] = [];
    const image = await fetchVendor(ubuntu, { from: from(), key: key.file }, (text) => said.push(text));
    t.true(readFileSync(image.file).equals(CONTENT));
    t.is(image.from, from());
    t.is(said.at(-1), '3 of 3 MiB');
    t.deepEqual(cacheFiles(), [image.file]);
    t.deepEqual(await fetchVendor(ubuntu, { from: from(), key: key.file }), image);
  });
}

test.serial('an image of another checksum is refused', async (t) => {
  appendFileSync(join(folder, IMAGE), 'x');
  const error = await refused(url);
  t.regex(error.message, /has SHA-256 [0-9a-f]{64}, its vendor signed [0-9a-f]{64}/);
  t.false(error instanceof Unreachable);
  t.deepEqual(cacheFiles(), []);
});

test.serial('a list signed by another key is refused, as is a changed list and one without a signature', async (t) => {
  const stranger = await refused(url, other.file);
  t.regex(stranger.tail ?? '', /No public key/);
  t.regex(stranger.message, /isn't signed by/);
  appendFileSync(join(folder, 'SHA256SUMS'), '# changed\n');
  t.regex((await refused(url)).tail ?? '', /BAD signature/);
  writeFileSync(join(folder, 'SHA256SUMS.gpg'), '');
  t.regex((await refused(url)).message, /isn't signed by/);
  t.deepEqual(cacheFiles(), []);
});

test.serial("the vendor's own key is what the default trusts: the test key's signature is refused", async (t) => {
  t.regex((await refused(folder, '')).tail ?? '', /No public key/);
  t.deepEqual(cacheFiles(), []);
});

test.serial('a connection that closes early is a short download', async (t) => {
  answer = (path, response) => {
    if (path !== IMAGE) return false;
    response.writeHead(200, { 'content-length': CONTENT.length });
    response.write(CONTENT.subarray(0, 1024 * 1024), () => response.destroy());
    return true;
  };
  const error = await refused(url);
  t.regex(error.message, /short download, \d+ of 3145728 bytes/);
  t.false(error instanceof Unreachable);
  t.deepEqual(cacheFiles(), []);
});

test.serial('an image that the list has and the place has not is an error, not a reason to fall back', async (t) => {
  rmSync(join(folder, IMAGE));
  for (const [from, why] of [
    [url, /img: HTTP 404$/],
    [folder, /img: ENOENT/],
  ] as const) {
    const error = await refused(from);
    t.regex(error.message, why);
    t.notRegex(error.message, /short/);
    t.regex(error.hint, /half-way through an update/);
    t.false(error instanceof Unreachable);
  }
  t.deepEqual(cacheFiles(), []);
});

test.serial('keys that expired or were revoked sign nothing, though gpgv ends well', async (t) => {
  const old = await makeTestKey('old', '20200101T000000');
  const revoked = await makeTestKey('revoked');
  t.teardown(() => Promise.all([old.close(), revoked.close()]));
  await signFolder(folder, revoked);
  t.truthy(await fetchVendor(ubuntu, { from: folder, key: revoked.file }), 'the control: before it was revoked');
  await revoked.revoke();
  rmSync(join(work, 'cache'), { recursive: true });
  t.regex((await refused(folder, revoked.file)).tail ?? '', /^\[GNUPG:\] REVKEYSIG/m);
  await signFolder(folder, old);
  t.regex((await refused(folder, old.file)).tail ?? '', /^\[GNUPG:\] EXPKEYSIG/m);
  await t.notThrowsAsync(execa('gpgv', ['--keyring', old.file, 'SHA256SUMS.gpg', 'SHA256SUMS'], { cwd: folder }));
  t.deepEqual(cacheFiles(), []);
});

test.serial("of a definition's keyring only the fingerprints count that it pins", async (t) => {
  const pinning = ({ fingerprint }: TestKey) => ({ ...ubuntu, key: key.file, fingerprints: [fingerprint] });
  t.truthy(await fetchVendor(pinning(key), { from: folder }));
  rmSync(join(work, 'cache'), { recursive: true });
  const error = await refused(folder, '', pinning(other));
  t.regex(error.message, /isn't signed by/);
  t.regex(error.tail ?? '', /^\[GNUPG:\] GOODSIG/m);
  t.deepEqual(cacheFiles(), []);
});

test.serial('one spoilt signature beside a good one, or a good one without its fingerprint, is no signature', (t) => {
  const print = 'AB'.repeat(20);
  const status = (...lines: string[]) => lines.map((line) => `[GNUPG:] ${line}\n`).join('');
  const good = ['GOODSIG 1A name', `VALIDSIG CD 2026-01-01 1 0 4 0 22 8 00 ${print}`];
  t.true(isSigned(status(...good)));
  t.true(isSigned(status(...good), [print]));
  t.false(isSigned(status(...good), ['CD'.repeat(20)]));
  for (const spoilt of ['BADSIG 1B x', 'ERRSIG 1B 22 8 00 1 9', 'EXPSIG 1B x', 'EXPKEYSIG 1B x', 'REVKEYSIG 1B x'])
    t.false(isSigned(status(...good, spoilt), [print]), spoilt);
  for (const line of good) t.false(isSigned(status(line), [print]), line);
  t.false(isSigned(''));
});

test.serial(
  'an image that the list does not name is refused; a path that ends in its name is not its name',
  async (t) => {
    const digest = '0'.repeat(64);
    writeFileSync(join(folder, 'SHA256SUMS'), `${digest} *../${IMAGE}\n${digest} */etc/${IMAGE}\n`);
    await key.sign(join(folder, 'SHA256SUMS'), join(folder, 'SHA256SUMS.gpg'));
    t.regex((await refused(url)).message, /names .* nowhere/);
    writeFileSync(join(folder, 'SHA256SUMS'), `${digest} *${IMAGE}\n${'1'.repeat(64)} *${IMAGE}\n`);
    await key.sign(join(folder, 'SHA256SUMS'), join(folder, 'SHA256SUMS.gpg'));
    t.regex((await refused(url)).message, /with several digests/);
    t.deepEqual(cacheFiles(), []);
  },
);

test.serial('a definition can name no path as its image', (t) => {
  const text = readFileSync(join(import.meta.dirname, '../../src/base/bases/ubuntu-24.04.yaml'), 'utf8');
  const define = (image: string) => {
    const file = join(work, 'defined.yaml');
    writeFileSync(file, text.replace(/^image: .*$/m, `image: "${image}"`));
    return () => loadBase(file);
  };
  t.is((define('plain.img')() as VendorBase).image, 'plain.img');
  for (const image of ['../x.img', '/x.img', 'a/b.img', '.hidden', '']) t.throws(define(image), { message: /image/ });
});

test.serial('a key is trusted only for a place that was named with it', async (t) => {
  const error = t.throws(() => vendorSource(ubuntu, { key: key.file }), { instanceOf: BuildError });
  t.is(error?.exitCode, EXIT.input);
  t.is(vendorSource(ubuntu, { from: 'http://mirror.example/x', key: '/k' }).from, 'http://mirror.example/x/');
  t.throws(() => vendorSource(ubuntu, { from: 'ftp://mirror.example/' }), { message: /neither http/ });
  await t.throwsAsync(chooseBase({ name: 'debian-13', mayFallBack: true, mirror: { from: folder } }), {
    message: /no vendor's image/,
  });
});

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
    answer = broken('SHA256SUMS', how);
    t.true((await refused(url)) instanceof Unreachable, String(how));
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
    answer = broken(path, how);
    const error = await refused(url);
    t.false(error instanceof Unreachable, `${path} ${how}`);
    t.regex(error.message, why);
    const chosen = await t.throwsAsync(withVendorSite(url, () => chooseBase({ mayFallBack: true })));
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
    answer = (_path, response) => {
      response.writeHead(302, { location: '/maze' }).end();
      return true;
    };
    const maze = await refused(url);
    t.regex(maze.message, /redirect count exceeded/);
    t.false(maze instanceof Unreachable);
  },
);

/** `fetch` as it is where the vendor's site is down, or serves what `url` does. */
async function withVendorSite<T>(at: string, work: () => Promise<T>): Promise<T> {
  const real = globalThis.fetch;
  globalThis.fetch = (place, init) => real(String(place).replace(ubuntu.url, at), init);
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
    const error = await t.throwsAsync(withVendorSite(url, () => chooseBase({ mayFallBack: true })));
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
