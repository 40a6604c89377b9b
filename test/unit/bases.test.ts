import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { execa } from 'execa';
import { loadBase, type VendorBase } from '../../src/base/bases.ts';
import { chooseBase } from '../../src/base/choose.ts';
import { Unreachable } from '../../src/base/download.ts';
import { fetchVendor, isSigned, vendorSource } from '../../src/base/vendor.ts';
import { BuildError, EXIT } from '../../src/process/errors.ts';
import { makeTestKey, signFolder, type TestKey } from '../e2e/vendor-site.ts';
import { CONTENT, cacheFiles, folder, place, refused, ubuntu, work } from './vendor-place.ts';

for (const [name, from] of [
  ['a folder', () => folder],
  ['a mirror', () => place.url],
] as const) {
  test.serial(`the control: what the vendor signed is taken from ${name}, and cached whole`, async (t) => {
    const said: string[] = [];
    const image = await fetchVendor(ubuntu, { from: from(), key: place.key.file }, (text) => said.push(text));
    t.true(readFileSync(image.file).equals(CONTENT));
    t.is(image.from, from());
    t.is(said.at(-1), '3 of 3 MiB');
    t.deepEqual(cacheFiles(), [image.file]);
    t.deepEqual(await fetchVendor(ubuntu, { from: from(), key: place.key.file }), image);
  });
}

test.serial('an image of another checksum is refused', async (t) => {
  appendFileSync(join(folder, ubuntu.image), 'x');
  const error = await refused(place.url);
  t.regex(error.message, /has SHA-256 [0-9a-f]{64}, its vendor signed [0-9a-f]{64}/);
  t.false(error instanceof Unreachable);
  t.deepEqual(cacheFiles(), []);
});

test.serial('a list signed by another key is refused, as is a changed list and one without a signature', async (t) => {
  const stranger = await refused(place.url, place.other.file);
  t.regex(stranger.tail ?? '', /No public key/);
  t.regex(stranger.message, /isn't signed by/);
  appendFileSync(join(folder, 'SHA256SUMS'), '# changed\n');
  t.regex((await refused(place.url)).tail ?? '', /BAD signature/);
  writeFileSync(join(folder, 'SHA256SUMS.gpg'), '');
  t.regex((await refused(place.url)).message, /isn't signed by/);
  t.deepEqual(cacheFiles(), []);
});

test.serial("the vendor's own key is what the default trusts: the test key's signature is refused", async (t) => {
  t.regex((await refused(folder, '')).tail ?? '', /No public key/);
  t.deepEqual(cacheFiles(), []);
});

test.serial('a connection that closes early is a short download', async (t) => {
  place.answer = (path, response) => {
    if (path !== ubuntu.image) return false;
    response.writeHead(200, { 'content-length': CONTENT.length });
    response.write(CONTENT.subarray(0, 1024 * 1024), () => response.destroy());
    return true;
  };
  const error = await refused(place.url);
  t.regex(error.message, /short download, \d+ of 3145728 bytes/);
  t.false(error instanceof Unreachable);
  t.deepEqual(cacheFiles(), []);
});

test.serial('an image that the list has and the place has not is an error, not a reason to fall back', async (t) => {
  rmSync(join(folder, ubuntu.image));
  for (const [from, why] of [
    [place.url, /img: HTTP 404$/],
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
  const pinning = ({ fingerprint }: TestKey) => ({ ...ubuntu, key: place.key.file, fingerprints: [fingerprint] });
  t.truthy(await fetchVendor(pinning(place.key), { from: folder }));
  rmSync(join(work, 'cache'), { recursive: true });
  const error = await refused(folder, '', pinning(place.other));
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
    writeFileSync(join(folder, 'SHA256SUMS'), `${digest} *../${ubuntu.image}\n${digest} */etc/${ubuntu.image}\n`);
    await place.key.sign(join(folder, 'SHA256SUMS'), join(folder, 'SHA256SUMS.gpg'));
    t.regex((await refused(place.url)).message, /names .* nowhere/);
    writeFileSync(join(folder, 'SHA256SUMS'), `${digest} *${ubuntu.image}\n${'1'.repeat(64)} *${ubuntu.image}\n`);
    await place.key.sign(join(folder, 'SHA256SUMS'), join(folder, 'SHA256SUMS.gpg'));
    t.regex((await refused(place.url)).message, /with several digests/);
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
  const error = t.throws(() => vendorSource(ubuntu, { key: place.key.file }), { instanceOf: BuildError });
  t.is(error?.exitCode, EXIT.input);
  t.is(vendorSource(ubuntu, { from: 'http://mirror.example/x', key: '/k' }).from, 'http://mirror.example/x/');
  t.throws(() => vendorSource(ubuntu, { from: 'ftp://mirror.example/' }), { message: /neither http/ });
  await t.throwsAsync(chooseBase({ name: 'debian-13', mayFallBack: true, mirror: { from: folder } }), {
    message: /no vendor's image/,
  });
});
