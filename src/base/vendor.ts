import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { cached, uncache } from '../plan/cache.ts';
import { hashFile } from '../plan/hash.ts';
import { BuildError, inputError } from '../process/errors.ts';
import { run } from '../process/run.ts';
import { keyFile, type VendorBase } from './bases.ts';
import { download, readSmall } from './download.ts';

/** A vendor's image, verified, in the cache. */
export interface VendorImage {
  /** The disk image as the vendor made it, qcow2. */
  file: string;
  /** Its SHA-256, hex, as the vendor signed it. */
  sha256: string;
  /** Where it came from: a URL, or a folder of this machine. */
  from: string;
}

/** Another place for a base's files than its vendor's own. */
export interface BaseMirror {
  /** An http(s) URL or a folder that holds the image, SHA256SUMS and SHA256SUMS.gpg. */
  from?: string | undefined;
  /** Keyring to trust instead of the vendor's; only with `from`, so that nobody trusts it for the vendor's own site. */
  key?: string | undefined;
}

/** Where a base's files are taken from, and who must have signed them. */
interface Source {
  from: string;
  /** Keyring. */
  key: string;
  /** Primary keys of it that count; undefined: all, because it is a keyring that a person named. */
  fingerprints?: string[];
}

/** @throws BuildError (input) for a key without a mirror, or a place that is none. */
export function vendorSource(base: VendorBase, mirror: BaseMirror): Source {
  if (mirror.key && !mirror.from) {
    throw inputError('base', 'a key without a mirror', 'give --base-mirror too: the vendor’s own site has its own key');
  }
  const from = mirror.from ?? base.url;
  const isUrl = /^https?:\/\//.test(from);
  if (!isUrl && /^[a-z]+:\/\//.test(from))
    throw inputError('base', `${from}: neither http(s) nor a folder`, 'give an http(s) URL or a folder');
  return {
    from: isUrl ? from.replace(/\/*$/, '/') : resolve(from),
    ...(mirror.key ? { key: resolve(mirror.key) } : { key: keyFile(base.key), fingerprints: base.fingerprints }),
  };
}

/**
 * Brings a vendor's image into the cache: SHA256SUMS and its signature first, then the image, hashed as it streams.
 * Whatever is wrong, nothing is cached.
 *
 * @param detail gets progress in MiB.
 * @throws Unreachable when nobody answers for the vendor's list; BuildError for all else.
 */
export async function fetchVendor(
  base: VendorBase,
  mirror: BaseMirror,
  detail: (text: string) => void = () => {},
): Promise<VendorImage> {
  const source = vendorSource(base, mirror);
  const { from } = source;
  const sums = await readSmall(from, 'SHA256SUMS', true);
  await checkSignature(sums, await readSmall(from, 'SHA256SUMS.gpg', false), source);
  const sha256 = digestOf(base.image, sums.toString(), from);
  const { dir } = await cached('vendor', sha256, async (into) => {
    const found = await download(from, base.image, join(into, base.image), detail);
    if (found === sha256) return;
    throw new BuildError(
      'base',
      `${from}: ${base.image} has SHA-256 ${found}, its vendor signed ${sha256}`,
      'a mirror may be half-way through an update: try later, or another one by --base-mirror',
    );
  });
  return { file: join(dir, base.image), sha256, from };
}

/**
 * A vendor's image as a raw disk. It is hashed first: it may have lain in the cache for months.
 * @throws BuildError when it isn't what the vendor signed; it is then in the cache no more.
 */
export async function rawVendorImage({ file, sha256 }: VendorImage, raw: string, log: string): Promise<void> {
  const found = await hashFile(file).catch(String);
  if (found !== sha256) {
    await uncache('vendor', sha256);
    throw new BuildError(
      'base',
      `${file}: the cached image has SHA-256 ${found}, its vendor signed ${sha256}`,
      'it was taken out of the cache: repeat it to fetch it anew, and find out what wrote there',
    );
  }
  // Named, never guessed: the image's first bytes would choose what reads it.
  await run('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', file, raw], { step: 'base', log });
}

/** The signature over the list is what makes it the vendor's. `gpgv` trusts the given keyring and nothing else. */
async function checkSignature(list: Buffer, signature: Buffer, { from, key, fingerprints }: Source): Promise<void> {
  // gpgv says the same of a missing keyring as of an unknown key.
  await readFile(key).catch(() => {
    throw inputError('base', `${key}: no such keyring`, 'gpg --export KEY >FILE makes one');
  });
  const dir = await mkdtemp(join(tmpdir(), 'clawdy-signature-'));
  try {
    const [sums, sig] = [join(dir, 'SHA256SUMS'), join(dir, 'SHA256SUMS.gpg')];
    await Promise.all([writeFile(sums, list), writeFile(sig, signature)]);
    const gpgv = ['--status-fd', '1', '--keyring', key, sig, sums];
    const said = await run('gpgv', gpgv, { step: 'base', ok: [0, 1, 2] });
    if (said.exitCode === 0 && isSigned(said.stdout, fingerprints)) return;
    throw new BuildError(
      'base',
      `${from}: SHA256SUMS isn't signed by ${key}`,
      'use nothing from there; src/base/keys/README.md has the fingerprints to compare',
      { tail: `${said.stderr}${said.stdout}`.trim() },
    );
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** One of these beside a good signature still spoils it. */
const SPOILT = ['BADSIG', 'ERRSIG', 'EXPSIG', 'EXPKEYSIG', 'REVKEYSIG'];

/**
 * Reads gpgv's status lines (GnuPG, doc/DETAILS). Its exit code is no answer: it is 0 for keys that have expired or
 * were revoked.
 * @param fingerprints primary keys that may sign; undefined: any that gpgv was given.
 */
export function isSigned(status: string, fingerprints?: string[]): boolean {
  const lines = [...status.matchAll(/^\[GNUPG:\] (.*)$/gm)].map((match) => (match[1] as string).split(' '));
  const of = (keyword: string) => lines.filter(([first]) => first === keyword);
  const signers = of('VALIDSIG').map((words) => words.at(-1) as string);
  return (
    of('GOODSIG').length > 0 &&
    signers.length > 0 &&
    signers.every((signer) => fingerprints?.includes(signer) ?? true) &&
    !SPOILT.some((keyword) => of(keyword).length)
  );
}

/** The digest that the list states for one file. Only this exact name counts, so no path in the list leads anywhere. */
function digestOf(image: string, sums: string, from: string): string {
  const lines = sums.split('\n').map((line) => /^([0-9a-f]{64}) [ *](.+)$/.exec(line));
  const digests = new Set(lines.flatMap((match) => (match?.[2] === image ? [match[1] as string] : [])));
  const [digest] = digests;
  if (digest && digests.size === 1) return digest;
  throw new BuildError(
    'base',
    `${from}: SHA256SUMS names ${image} ${digests.size ? 'with several digests' : 'nowhere'}`,
    'the vendor may have renamed it: mend src/base/bases',
  );
}
