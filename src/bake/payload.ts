import {
  cpSync,
  createWriteStream,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type Header, pack } from 'tar-stream';
import { parse } from 'yaml';
import { checkPath, type Layer } from '../manifest/layers.ts';
import { run } from '../process/run.ts';
import type { Given } from './given.ts';

/**
 * Packs the payload into one archive.
 *
 * @param work folder for a temporary copy.
 * @param image who the image says it is; the box reads it from /usr/lib/clawdy/image.json.
 * @param given files that layers take from whoever bakes.
 */
export async function archivePayload(
  layers: Layer[],
  root: string,
  work: string,
  tar: string,
  image: object,
  given: Given[] = [],
): Promise<void> {
  const dir = join(work, 'payload');
  await writePayload(layers, root, dir, image, given);
  await run(
    'tar',
    ['--create', '--file', tar, '--sort=name', '--owner=0', '--group=0', '--numeric-owner', '-C', dir, '.'],
    {
      step: 'payload',
    },
  );
  rmSync(dir, { recursive: true });
}

/**
 * Writes what `packer/apply.sh` reads: per layer an overlay archive with owners and modes from the manifest, the
 * layer's own apply.sh, and its units.
 */
async function writePayload(layers: Layer[], root: string, into: string, image: object, given: Given[]): Promise<void> {
  mkdirSync(into, { recursive: true });
  const active = layers.filter((layer) => layer.state === 'active');
  for (const layer of active) {
    const dir = join(into, layer.name);
    mkdirSync(join(dir, 'src'), { recursive: true });
    await writeOverlay(layer, join(dir, 'overlay.tar'), given);
    if (layer.hasApply) cpSync(join(layer.dir, 'apply.sh'), join(dir, 'src', 'apply.sh'));
    writeFileSync(join(dir, 'units'), unitLines(layer));
  }
  writeFileSync(join(into, 'image.json'), `${JSON.stringify(image)}\n`);
  writeFileSync(join(into, 'order'), `${active.map((layer) => layer.name).join('\n')}\n`);
  for (const script of ['apply.sh', 'seal.sh']) cpSync(join(root, 'packer', script), join(into, script));
}

function unitLines({ units }: Layer): string {
  const lines = [...units.mask.map((unit) => `mask ${unit}`), ...units.enable.map((unit) => `enable ${unit}`)];
  return lines.map((line) => `${line}\n`).join('');
}

/** Modification time of every overlay file: fixed, so that two bakes of one commit agree. */
const MTIME = new Date('2026-01-01T00:00:00Z');

async function writeOverlay(layer: Layer, file: string, given: Given[]): Promise<void> {
  // All is read before anything is written: a missing file is then an error of its own and leaves no half archive.
  const members = [...overlayMembers(layer), ...givenMembers(layer, given)];
  const archive = pack();
  for (const { header, body } of members) archive.entry({ uid: 0, gid: 0, mtime: MTIME, ...header }, body);
  archive.finalize();
  await pipeline(archive, createWriteStream(file));
}

interface Member {
  header: Partial<Header> & { name: string };
  body: Buffer;
}

function overlayMembers(layer: Layer): Member[] {
  const literal = Object.entries(layer.overlay)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([path, { owner, mode }]): Member => {
      const source = join(layer.dir, 'rootfs', path);
      const header = { name: `.${path}`, ...ownerIds(owner) };
      if (lstatSync(source).isSymbolicLink()) {
        return { header: { ...header, type: 'symlink', linkname: readlinkSync(source) }, body: Buffer.alloc(0) };
      }
      return { header: { ...header, mode: Number.parseInt(mode as string, 8) }, body: readFileSync(source) };
    });
  const checks = layer.checks.map(({ kind, file }): Member => {
    return { header: { name: `.${checkPath(layer, kind, file)}`, mode: 0o755 }, body: readFileSync(file) };
  });
  return [...literal, ...checks, ...launchSchemaMember(layer)];
}

function givenMembers(layer: Layer, given: Given[]): Member[] {
  return given.flatMap(({ name, body }) => {
    const place = layer.given[name];
    if (!place) return [];
    return { header: { name: `.${place.path}`, mode: Number.parseInt(place.mode, 8), ...ownerIds(place.owner) }, body };
  });
}

/** @param owner `user:group`, root or numbers. */
function ownerIds(owner: string): { uid: number; gid: number } {
  const [uid, gid] = owner.split(':').map((name) => (name === 'root' ? 0 : Number(name))) as [number, number];
  return { uid, gid };
}

function launchSchemaMember(layer: Layer): Member[] {
  if (!layer.launchSchema) return [];
  const json = `${JSON.stringify(parse(readFileSync(layer.launchSchema, 'utf8')), null, 2)}\n`;
  return [{ header: { name: `.${launchSchemaPath(layer)}`, mode: 0o644 }, body: Buffer.from(json) }];
}

/** Where a layer's share of the launch.json schema lands on the box. */
export function launchSchemaPath(layer: Layer): string {
  return `/usr/lib/clawdy/launch.schema.d/${layer.name}.json`;
}
