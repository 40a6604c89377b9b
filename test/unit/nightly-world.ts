import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Night } from '../../src/nightly/night.ts';
import { runNight } from '../../src/nightly/run.ts';
import { type Settings, settingsSchema } from '../../src/nightly/settings.ts';
import type { Call, Perform } from '../../src/nightly/stages.ts';
import type { updateRuntime } from '../../src/nightly/update.ts';
import { BuildError } from '../../src/process/errors.ts';
import { Progress } from '../../src/process/progress.ts';
import { reportOf, writeReportAt } from '../fakes/proof.ts';

/** What commands have done, as a file, so that a copy of the folder is a moment that can be gone back to. */
export interface World {
  /** Of the inputs: bakes with the same one give the same image. */
  inputs: number;
  baked: Record<string, string>;
  published: Record<string, string[]>;
  latest: Record<string, string>;
  pruned: number;
}

const EMPTY: World = { inputs: 1, baked: {}, published: {}, latest: {}, pruned: 0 };
export const SETTINGS: Settings = settingsSchema.parse({
  ...{
    version: 1,
    bases: ['debian-13', 'debian-12'],
    clouds: [{ name: 'local' }, { name: 'aws', regions: ['a', 'b'] }],
  },
  ...{ scope: 'ci', update: { openclaw: '1' }, keep: 2 },
});

export const worldOf = (root: string): World =>
  existsSync(join(root, 'world.json'))
    ? JSON.parse(readFileSync(join(root, 'world.json'), 'utf8'))
    : structuredClone(EMPTY);
export const keep = (root: string, world: World) => writeFileSync(join(root, 'world.json'), JSON.stringify(world));

/** An image as a bake leaves one; figures and lists may be changed. */
export function putImage(root: string, id: string, base: string, change: object = {}): string {
  const dir = join(root, 'dist', id);
  mkdirSync(dir, { recursive: true });
  const sha256 = '0'.repeat(64);
  const disk = { rawSha256: sha256, rawSize: 1, qcow2Size: 1000 };
  const created = new Date(Date.UTC(2026, 10, 1) + Number(id.slice(-8)) * 1000).toISOString();
  const manifest = {
    ...{ schema: 1, id, created, inputHash: sha256, base: { id: base, sha256 }, disk, layers: [], without: [] },
    ...{ packages: ['openssl 1'], runtime: { openclaw: '1', node: '1' }, accelerator: 'tcg', prepared: sha256 },
    ...{ steps: [], seconds: 100, ...change },
  };
  writeFileSync(join(dir, 'manifest.json'), JSON.stringify(manifest));
  return dir;
}

/** Does as the commands do, in the world. @param poison may throw in place of one, or change what it leaves. */
export function performer(
  root: string,
  poison: (call: Call, image?: string) => void = () => {},
): Perform & { calls: string[] } {
  const calls: string[] = [];
  const value = (args: string[], name: string) => args[args.indexOf(name) + 1] as string;
  const perform = async (call: Call) => {
    const { stage, args } = call;
    calls.push(args.join(' '));
    const world = worldOf(root);
    const idAt = (path: string) => path.split('/').at(-1) as string;
    if (stage === 'bake') {
      const base = value(args, '--base');
      const id = `${base}-20261101T000000Z-${String(world.inputs).padStart(8, '0')}`;
      poison(call, id);
      const cached = world.baked[base] === id;
      const path = cached ? join(root, 'dist', id) : putImage(root, id, base);
      keep(root, { ...world, baked: { ...world.baked, [base]: id } });
      return { id, path, cached, seconds: 1 };
    }
    poison(call);
    if (stage === 'proof') {
      writeReportAt(value(args, '--image'), 'report.json', JSON.stringify(reportOf(value(args, '--image'), 'ci')));
      return {};
    }
    const cloud = value(args, '--cloud');
    if (stage === 'publish') {
      const id = idAt(value(args, '--image'));
      world.published[cloud] = [...new Set([...(world.published[cloud] ?? []), id])];
      keep(root, world);
      return { publications: [{ region: 'a', image_id: id, bytes_sent: 1, boot_seconds: 60 }] };
    }
    if (stage === 'promote') {
      const [key, id] = [`${cloud} ${value(args, '--base')}`, value(args, '--image')];
      if (!world.published[cloud]?.includes(id)) throw new BuildError('promote', `${id} isn't published`, '');
      const moved = world.latest[key] !== id;
      world.latest[key] = id;
      keep(root, world);
      return moved ? [{ channel: 'latest' }] : [];
    }
    keep(root, { ...world, pruned: world.pruned + 1 });
    return [];
  };
  return Object.assign(perform, { calls });
}

/** Nights are many here, and each says what it does. */
class Quiet extends Progress {
  override say(): void {}
}

/** A night in that world, with its journal in `nights`. */
export async function aNight(
  root: string,
  perform: Perform,
  {
    settings = SETTINGS,
    update = async () => ({}),
    each = () => {},
  }: { settings?: Settings; update?: typeof updateRuntime; each?: () => void } = {},
) {
  const nights = join(root, 'nights');
  mkdirSync(nights, { recursive: true });
  const all = Night.all(nights);
  // Nights are named by the second.
  const { night, resumed } = Night.open(nights, 'settings', new Date(Date.UTC(2026, 10, 1) + all.length * 86_400_000));
  const add = night.add.bind(night);
  night.add = (entry) => {
    add(entry);
    each();
  };
  const earlier = all.filter(({ record }) => record.id !== night.record.id);
  const record = await runNight({ root, settings, night, earlier, perform, update }, new Quiet());
  return { ...record, resumed };
}

/** A copy of a folder, beside it. */
export function copyOf(root: string, name: string): string {
  const to = `${root}-${name}`;
  cpSync(root, to, { recursive: true, verbatimSymlinks: true });
  return to;
}
