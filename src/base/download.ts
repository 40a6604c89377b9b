import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { readFile, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { BuildError } from '../process/errors.ts';

/** Nobody answers for the vendor's files, good or bad: the only failure that a fall-back may answer. */
export class Unreachable extends BuildError {}

/** A site that answers, but not with the file. */
class HttpError extends Error {
  readonly status: number;

  constructor(status: number) {
    super(`HTTP ${status}`);
    this.status = status;
  }
}

/** A list of some hundred bytes; a site that takes longer is as good as down, and a person waits for the fall-back. */
const SMALL_LIMIT_MS = 10_000;
/** A download may take as long as it takes, but not stand still for longer than this. */
const STALL_LIMIT_MS = 60_000;
const MiB = 1024 * 1024;

const REACH_HINT =
  'check the network (behind a proxy: https_proxy and NODE_USE_ENV_PROXY=1), give a mirror or a folder by --base-mirror, or take another --base';

const ABSENT_HINT =
  'it may be half-way through an update: try later; else mend --base-mirror, or the url in src/base/bases if the vendor moved it';
const CERTIFICATE_HINT =
  'nothing is taken from there; behind a proxy that signs with a CA of its own: NODE_EXTRA_CA_CERTS=<its certificate>';

/**
 * Reads one small file of a vendor's folder.
 * @param from http(s) URL that ends in `/`, or a folder.
 * @param first nothing came from there yet. Only then is the place unreachable: whoever answers with a list and keeps
 * its signature back isn't down.
 * @throws Unreachable when nobody answers for the first file, or a server in trouble (HTTP 5xx); BuildError for all else.
 */
export async function readSmall(from: string, name: string, first: boolean): Promise<Buffer> {
  try {
    return isUrl(from) ? await fetchSmall(from + name) : await readFile(join(from, name));
  } catch (cause) {
    const what = `${place(from, name)}: ${reason(cause)}`;
    if (first && isDown(from, cause)) throw new Unreachable('base', what, REACH_HINT, { cause });
    throw new BuildError('base', what, hintFor(from, cause), { cause });
  }
}

/** Codes of Node and its fetch for: no such name, no connection, one that broke, a proxy that lets nobody through. */
const NO_ANSWER =
  /^(ECONN|EHOST|ENET|EAI_|ENOTFOUND$|ETIMEDOUT$|EPIPE$|UND_ERR_(SOCKET|ABORTED|(CONNECT|HEADERS|BODY)_TIMEOUT)$)/;

function isDown(from: string, error: unknown): boolean {
  if (!isUrl(from)) return false;
  if (error instanceof HttpError) return error.status >= 500;
  return NO_ANSWER.test(codeOf(error)) || (error instanceof Error && error.name === 'TimeoutError');
}

function hintFor(from: string, error: unknown): string {
  // Somebody else answers in the vendor's name.
  if (/CERT|^ERR_(TLS|SSL)|^UNABLE_TO_/.test(codeOf(error))) return CERTIFICATE_HINT;
  return error instanceof HttpError || !isUrl(from) ? ABSENT_HINT : REACH_HINT;
}

async function fetchSmall(url: string): Promise<Buffer> {
  const signal = AbortSignal.timeout(SMALL_LIMIT_MS);
  for (let again = true; ; again = false) {
    try {
      const response = await fetch(url, { signal });
      if (!response.ok) throw new HttpError(response.status);
      return Buffer.from(await response.arrayBuffer());
    } catch (error) {
      // A site may close a kept connection in the very moment it is used again; a new one then serves.
      if (!again || signal.aborted || error instanceof HttpError) throw error;
    }
  }
}

/**
 * Streams one file of a vendor's folder to disk, first as `<to>.part`.
 * @returns SHA-256 of what came, hex.
 * @throws BuildError when it can't be had, or came short; never Unreachable, because its list was had.
 */
export async function download(
  from: string,
  name: string,
  to: string,
  detail: (text: string) => void,
): Promise<string> {
  const stall = new AbortController();
  const hash = createHash('sha256');
  let bytes = 0;
  let opened = false;
  let expected: number | undefined;
  let timer: NodeJS.Timeout | undefined;
  const moved = () => {
    clearTimeout(timer);
    timer = setTimeout(() => stall.abort(new Error(`nothing came for ${STALL_LIMIT_MS / 1000} s`)), STALL_LIMIT_MS);
  };
  const count = new Transform({
    transform(chunk: Buffer, _encoding, next) {
      moved();
      hash.update(chunk);
      bytes += chunk.length;
      detail(`${Math.floor(bytes / MiB)}${expected ? ` of ${Math.ceil(expected / MiB)}` : ''} MiB`);
      next(null, chunk);
    },
  });
  try {
    moved();
    const source = await open(from, name, stall.signal);
    opened = true;
    expected = source.size;
    await pipeline(source.body, count, createWriteStream(`${to}.part`), { signal: stall.signal });
    if (expected !== undefined && bytes !== expected) throw new Error('it ended early');
  } catch (cause) {
    const much = expected === undefined ? `${bytes} bytes` : `${bytes} of ${expected} bytes`;
    const why = stall.signal.aborted ? reason(stall.signal.reason) : reason(cause);
    if (!opened) throw new BuildError('base', `${place(from, name)}: ${why}`, hintFor(from, cause), { cause });
    throw new BuildError('base', `${place(from, name)}: short download, ${much}: ${why}`, 'repeat it', { cause });
  } finally {
    clearTimeout(timer);
  }
  await rename(`${to}.part`, to);
  return hash.digest('hex');
}

async function open(from: string, name: string, signal: AbortSignal): Promise<{ body: Readable; size?: number }> {
  if (!isUrl(from)) {
    const { size } = await stat(join(from, name));
    return { body: createReadStream(join(from, name)), size };
  }
  const response = await fetch(from + name, { signal });
  if (!response.ok || !response.body) throw new HttpError(response.status);
  const length = Number(response.headers.get('content-length'));
  // A compressed transfer states the compressed length.
  const exact = length > 0 && !response.headers.get('content-encoding');
  return { body: Readable.fromWeb(response.body), ...(exact ? { size: length } : {}) };
}

function isUrl(from: string): boolean {
  return /^https?:\/\//.test(from);
}

function place(from: string, name: string): string {
  return isUrl(from) ? from + name : join(from, name);
}

/** `fetch failed` says nothing; what it was caused by in the end does. */
function rootOf(error: unknown): unknown {
  return error instanceof Error && error.cause instanceof Error ? rootOf(error.cause) : error;
}

function codeOf(error: unknown): string {
  return String((rootOf(error) as { code?: unknown }).code);
}

function reason(error: unknown): string {
  const root = rootOf(error);
  // Where several addresses failed there is a code and no message.
  return root instanceof Error ? root.message || codeOf(root) : String(root);
}
