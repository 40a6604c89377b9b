import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, openSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import type { ExecutionContext } from 'ava';
import type { Cloud, RawDisk, UploadJob } from '../../src/clouds/cloud.ts';
import { openCloud } from '../../src/clouds/find.ts';
import { BuildError, renderError } from '../../src/process/errors.ts';
import { digestDisk } from '../../src/seal/digest.ts';
import type { FakeHetzner } from '../fakes/hetzner/index.ts';

const MIB = 1024 * 1024;
/** Bytes of the disk; nothing here depends on its being small but the time it takes. */
export const SIZE = 64 * MIB;

export interface SmallDisk extends RawDisk {
  rawSha256: string;
  remove(): void;
}

/** Random blocks among zeros, some of them neighbours, one in the middle of a block and across two, the last one too. */
export async function smallDisk(): Promise<SmallDisk> {
  const folder = mkdtempSync(join(tmpdir(), 'clawdy-small-'));
  const path = join(folder, 'disk.raw');
  writeFileSync(path, '');
  truncateSync(path, SIZE);
  const file = openSync(path, 'r+');
  for (const [at, bytes] of [
    [0, 3 * MIB],
    [5.25 * MIB, MIB / 2],
    [20 * MIB + 7, 1],
    [30 * MIB, 9 * MIB],
    [SIZE - 4096, 4096],
  ] as const)
    writeSync(file, randomBytes(bytes), 0, bytes, at);
  const { rawSha256, blocks } = await digest(path);
  return { path, size: SIZE, blocks, rawSha256, remove: () => rmSync(folder, { recursive: true }) };
}

async function digest(path: string): Promise<{ rawSha256: string; blocks: Record<number, string> }> {
  const found = await digestDisk(path, []);
  return { rawSha256: found.raw, blocks: found.blocks };
}

export interface TestJob extends UploadJob {
  notes: Record<string, string>;
  bytes: { sent: number; expected: number };
  said: string[];
}

let runs = 0;

/** @param more of the image: a later bake of the same base, another digest. */
export function jobOf(disk: SmallDisk, more: { run?: string; id?: string; rawSha256?: string } = {}): TestJob {
  const notes: Record<string, string> = {};
  const bytes = { sent: 0, expected: 0 };
  const said: string[] = [];
  return {
    run: more.run ?? `run-${process.pid}-${++runs}`,
    region: 'fsn1',
    image: {
      id: more.id ?? 'debian-13-20261125T222726Z-55a2fb6f',
      base: 'debian-13',
      created: '2026-11-25T22:27:26.000Z',
      rawSha256: more.rawSha256 ?? disk.rawSha256,
      rawSize: disk.size,
    },
    notes,
    note: (added) => void Object.assign(notes, added),
    detail: (text) => void said.push(text),
    disk: async () => disk,
    parent: undefined,
    sent: (count) => {
      bytes.sent += count;
    },
    expect: (count) => {
      bytes.expected = count;
    },
    bytes,
    said,
  };
}

/** Opens the cloud as the CLI does, with the fake's environment. */
export function openFake(fake: FakeHetzner, env: Record<string, string> = {}): Promise<Cloud> {
  for (const name of Object.keys(process.env)) if (name.startsWith('HCLOUD_')) delete process.env[name];
  Object.assign(process.env, fake.env, env);
  return openCloud('hetzner', { regions: [] });
}

/** That it ends in a BuildError of which nothing, however deep, tells a secret. @returns the error. */
export async function fails(t: ExecutionContext, fake: FakeHetzner, work: Promise<unknown>): Promise<BuildError> {
  const error = await t.throwsAsync(work);
  t.true(error instanceof BuildError, inspect(error));
  tellsNothing(t, fake, inspect(error, { depth: 10, showHidden: true }), renderError(error), JSON.stringify(error));
  t.not((error as BuildError).hint, '');
  return error as BuildError;
}

/** That none of the texts has the token, or a password of an answer. */
export function tellsNothing(t: ExecutionContext, fake: FakeHetzner, ...texts: string[]): void {
  for (const secret of fake.secrets()) for (const text of texts) t.false(text.includes(secret), text);
}

export function sha256(text: string | Buffer): string {
  return createHash('sha256').update(text).digest('hex');
}
