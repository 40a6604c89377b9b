/**
 * How fast an upload to AWS is beside a plain loop that hashes and PUTs, what a second bake sends, and whether memory stays
 * flat. Both servers are on this machine, each in a process of its own; a real network is slower than either.
 *
 *     node test/bench/publish.ts [<older image folder> <newer image folder>]       default: the two newest below dist/
 *
 * Prints {full, plain, ratio, next, image_bytes, next_share}: bytes and seconds; rss_mib is the peak of the whole uploading process.
 */
import { createHash } from 'node:crypto';
import { mkdtempSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, resolve } from 'node:path';
import { buffer } from 'node:stream/consumers';
import pMap from 'p-map';
import { openCloud } from '../../src/clouds/find.ts';
import { readImage } from '../../src/manifest/image.ts';
import { cacheRoot } from '../../src/plan/cache.ts';
import { run, start } from '../../src/process/run.ts';
import { readBlocks } from '../../src/publish/journal.ts';
import { publishedOf } from '../../src/publish/publish.ts';
import { rawDisk } from '../../src/seal/closed-disk.ts';
import { BLOCK_BYTES } from '../../src/seal/digest.ts';
import { startFakeAws } from '../fakes/aws/index.ts';
import { ROOT } from '../image.ts';

/** As src/clouds/aws/upload.ts has. */
const WORKERS = 32;

interface Measured {
  bytes: number;
  seconds: number;
  rss_mib: number;
}

interface Source {
  image: string;
  raw: string;
  /** Folder of the image it builds on, and that one's snapshot. */
  parent?: { image: string; snapshotId: string };
}

const roles: Record<string, (...words: string[]) => Promise<unknown>> = { fake, sink, ours, plain };
const [role = '', ...words] = process.argv.slice(2);
const chosen = roles[role];
process.stdout.write(`${JSON.stringify(chosen ? await chosen(...words) : await bench(role, ...words))}\n`);

/** AWS as the tests have it. @returns the environment by which clients find it. */
async function fake(dir: string) {
  const hypervisor = { boot: async () => ({ console: () => '', off: async () => {} }) };
  return (await startFakeAws({ hypervisor, dir })).env;
}

/** Takes blocks, hashes them and writes them down: the least that any such server does. */
async function sink(file: string) {
  const fd = openSync(file, 'w');
  const server = createServer(async (request, response) => {
    const body = await buffer(request);
    const isWhole = createHash('sha256').update(body).digest('base64') === request.headers['x-checksum'];
    writeSync(fd, body, 0, body.length, Number(request.url?.slice(1)) * BLOCK_BYTES);
    response.writeHead(isWhole ? 200 : 400).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

async function ours(text: string): Promise<Measured & { snapshotId: string }> {
  const { image, raw, parent } = JSON.parse(text) as Source;
  const cloud = await openCloud('aws', { regions: [] });
  const published = publishedOf(readImage(image));
  const notes: Record<string, string> = {};
  const { size, blocks } = readBlocks(join(image, 'blocks.json'));
  const begun = performance.now();
  const { bytesSent } = await cloud.upload({
    ...{ run: `bench-${process.pid}`, region: cloud.regions[0], image: published, notes },
    note: (more) => void Object.assign(notes, more),
    detail: () => {},
    disk: async () => ({ path: raw, size, blocks }),
    parent: parent && { snapshotId: parent.snapshotId, ...readBlocks(join(parent.image, 'blocks.json')) },
    sent: () => {},
    expect: () => {},
  });
  const seconds = (performance.now() - begun) / 1000;
  cloud.close();
  const snapshotId = Object.values(notes).find((value) => value.startsWith('snap-')) ?? '';
  return { ...measured(bytesSent, seconds), snapshotId };
}

async function plain(text: string, url: string): Promise<Measured> {
  const { image, raw } = JSON.parse(text) as Source;
  const { blocks } = readBlocks(join(image, 'blocks.json'));
  const file = await open(raw);
  const begun = performance.now();
  await pMap(
    Object.keys(blocks),
    async (index) => {
      const block = Buffer.allocUnsafe(BLOCK_BYTES);
      await file.read(block, 0, BLOCK_BYTES, Number(index) * BLOCK_BYTES);
      const headers = { 'x-checksum': createHash('sha256').update(block).digest('base64') };
      const answer = await fetch(`${url}/${index}`, { method: 'PUT', body: block, headers });
      if (!answer.ok) throw new Error(`block ${index}: ${answer.status}`);
    },
    { concurrency: WORKERS },
  );
  return measured(Object.keys(blocks).length * BLOCK_BYTES, (performance.now() - begun) / 1000);
}

function measured(bytes: number, seconds: number): Measured {
  // KiB: getrusage(2).
  return { bytes, seconds: Math.round(seconds * 10) / 10, rss_mib: Math.round(process.resourceUsage().maxRSS / 1024) };
}

async function bench(older = '', newer = '') {
  const images = older ? [resolve(older), resolve(newer)] : newest();
  const work = mkdtempSync(join(cacheRoot(), 'bench-publish-'));
  const servers = [server('fake', join(work, 'aws')), server('sink', join(work, 'sink'))] as const;
  try {
    const [env, { url = '' }] = await Promise.all([servers[0].said, servers[1].said]);
    const sources: Source[] = [];
    for (const [index, image] of images.entries()) {
      const into = join(work, String(index));
      await run('mkdir', [into], { step: 'bench' });
      sources.push({ image, raw: await rawDisk(image, readImage(image), into) });
    }
    const [first, second] = sources as [Source, Source];
    const full = await child('ours', env, first);
    const beside = await child('plain', {}, first, url);
    const parent = { image: first.image, snapshotId: full.snapshotId };
    const next = await child('ours', env, { ...second, parent });
    const rate = (one: Measured) => one.bytes / one.seconds;
    const size = readImage(second.image).disk.rawSize;
    const ratio = Math.round((rate(full) / rate(beside)) * 100) / 100;
    return { full, plain: beside, ratio, next, image_bytes: size, next_share: next.bytes / full.bytes };
  } finally {
    for (const { end } of servers) await end();
    rmSync(work, { recursive: true, force: true });
  }
}

/** The two newest images of the newest's base. */
function newest(): string[] {
  const dist = join(ROOT, 'dist');
  const names = readdirSync(dist).filter((name) => /T\d{6}Z-/.test(name));
  const byTime = names.sort(
    (a, b) => (/\d{8}T/.exec(a)?.index ?? 0) - (/\d{8}T/.exec(b)?.index ?? 0) || a.localeCompare(b),
  );
  if (byTime.length < 2) throw new Error('two images are needed: make bake, twice');
  return byTime.slice(-2).map((name) => join(dist, name));
}

function server(kind: 'fake' | 'sink', place: string) {
  const process_ = start('node', [import.meta.filename, kind, place], { stdin: 'ignore', stderr: 'inherit' });
  const said = new Promise<Record<string, string>>((resolve) =>
    process_.stdout?.once('data', (line) => resolve(JSON.parse(String(line)))),
  );
  const end = async () => {
    process_.kill('SIGKILL');
    await process_;
  };
  return { said, end };
}

async function child(kind: 'ours' | 'plain', env: Record<string, string>, source: Source, ...more: string[]) {
  const words = [import.meta.filename, kind, JSON.stringify(source), ...more];
  const { stdout } = await run('node', words, { step: 'bench', env });
  return JSON.parse(stdout) as Measured & { snapshotId: string };
}
