import { cpSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { type ImageManifest, readImage } from '../manifest/image.ts';
import { type Report, reportSchema } from '../verify/report/schema.ts';
import type { Settings } from './settings.ts';

/** Names that a list of changes has at most; `more` counts the rest. */
const SHOWN = 200;

const listed = z.strictObject({
  added: z.array(z.string()),
  removed: z.array(z.string()),
  changed: z.array(z.string()),
  /** Of all three, what isn't named. */
  more: z.number(),
});
type Listed = z.output<typeof listed>;

/** The figures of one image that a night is held against the one before by. */
export const figuresSchema = z.strictObject({
  /** Bytes of the compressed disk, and of the raw one. */
  size: z.number(),
  rawSize: z.number(),
  bakeSeconds: z.number(),
  /** Of the machine that was booted where it was published; null where none was. */
  bootSeconds: z.number().nullable(),
  claims: z.number(),
});
export type Figures = z.output<typeof figuresSchema>;

export const changesSchema = z.strictObject({
  image: z.string(),
  /** Null: there was none before. */
  before: z.string().nullable(),
  packages: listed,
  runtime: listed,
  files: listed,
  ports: listed,
  claims: listed,
  figures: figuresSchema,
  figuresBefore: figuresSchema.nullable(),
  warnings: z.array(z.string()),
  /** What promotes nothing. */
  stops: z.array(z.string()),
});
export type Changes = z.output<typeof changesSchema>;

/** One image and what was measured of it. */
export interface Measured {
  dir: string;
  bootSeconds: number | null;
}

/**
 * What an image is otherwise than the one before: packages, runtime, files, ports, claims, figures; and which of it is beyond the bounds.
 * @param before undefined for the first night.
 */
export function changesOf(now: Measured, before: Measured | undefined, bounds: Settings['bounds']): Changes {
  const [one, other] = [read(now), before && read(before)];
  const diff = (of: (facts: Facts) => Map<string, string>) => compare(other ? of(other) : new Map(), of(one));
  const figures = one.figures;
  const figuresBefore = other?.figures ?? null;
  const changes = {
    ...{ image: one.manifest.id, before: other?.manifest.id ?? null },
    packages: diff(({ manifest }) => versions(manifest.packages)),
    runtime: diff(({ manifest }) => new Map(Object.entries(manifest.runtime))),
    files: diff(({ files }) => files),
    ports: diff(({ report }) => new Map((report?.listening ?? []).map((line) => [line, '']))),
    claims: diff(({ report }) => new Map(claimsOf(report).map(([id, sabotaged]) => [id, sabotaged]))),
    ...{ figures, figuresBefore },
  };
  return { ...changes, ...judged(changes, bounds) };
}

/** Of an image what changesOf reads: some megabytes, so that the image itself may go, and nights be kept elsewhere. */
export function keepFacts(dir: string, into: string): void {
  mkdirSync(join(into, 'verify'), { recursive: true });
  for (const name of ['manifest.json', 'files.tsv', 'verify/report.json', 'verify/full/report.json'])
    if (existsSync(join(dir, name))) cpSync(join(dir, name), join(into, name));
}

interface Facts {
  manifest: ImageManifest;
  report: Report | undefined;
  files: Map<string, string>;
  figures: Figures;
}

function read({ dir, bootSeconds }: Measured): Facts {
  const manifest = readImage(dir);
  const report = reportOf(dir);
  const { qcow2Size: size, rawSize } = manifest.disk;
  const figures = { size, rawSize, bakeSeconds: manifest.seconds, bootSeconds, claims: report?.totals.passed ?? 0 };
  return { manifest, report, files: filesOf(dir), figures };
}

function reportOf(dir: string): Report | undefined {
  const [file] = ['report.json', join('full', 'report.json')]
    .map((name) => join(dir, 'verify', name))
    .filter((name) => existsSync(name));
  const parsed = file ? reportSchema.safeParse(JSON.parse(readFileSync(file, 'utf8'))) : undefined;
  return parsed?.data;
}

/** Kind, mode, owner, group and size of each path, by the list that was taken of the closed disk. */
function filesOf(dir: string): Map<string, string> {
  const file = join(dir, 'files.tsv');
  if (!existsSync(file)) return new Map();
  const rows = readFileSync(file, 'utf8').trimEnd().split('\n');
  return new Map(rows.map((row) => [row.slice(0, row.indexOf('\t')), row.slice(row.indexOf('\t') + 1)]));
}

/** `name version` by name. */
const versions = (packages: string[]) => new Map(packages.map((one) => one.split(' ') as [string, string]));

function claimsOf(report: Report | undefined): [string, string][] {
  const claims = report?.layers.flatMap((layer) => layer.claims) ?? [];
  return claims.map(({ id, target, sabotage }) => [`${id} (${target})`, 'until' in sabotage ? 'excused' : '']);
}

function compare(before: Map<string, string>, now: Map<string, string>): Listed {
  const named = (key: string, from?: string, to?: string) =>
    from || to ? `${key} ${[from, to].filter(Boolean).join(' → ')}` : key;
  const added = [...now].filter(([key]) => !before.has(key)).map(([key, to]) => named(key, undefined, to));
  const removed = [...before].filter(([key]) => !now.has(key)).map(([key, from]) => named(key, from));
  const changed = [...now]
    .filter(([key, to]) => before.has(key) && before.get(key) !== to)
    .map(([key, to]) => named(key, before.get(key), to));
  const [a, r, c] = [added, removed, changed].map((list) => list.sort().slice(0, SHOWN)) as [
    string[],
    string[],
    string[],
  ];
  const more = added.length + removed.length + changed.length - a.length - r.length - c.length;
  return { added: a, removed: r, changed: c, more };
}

/** A port or a claim less or more is never a matter of percent: fewer claims stop, another port is said. */
function judged(
  { ports, claims, figures, figuresBefore }: Pick<Changes, 'ports' | 'claims' | 'figures' | 'figuresBefore'>,
  bounds: Settings['bounds'],
): Pick<Changes, 'warnings' | 'stops'> {
  const [warnings, stops]: [string[], string[]] = [[], []];
  if (!figuresBefore) return { warnings, stops };
  for (const [name, { warn, stop }] of Object.entries(bounds) as [
    keyof Settings['bounds'],
    { warn: number; stop: number },
  ][]) {
    const [from, to] = [figuresBefore[name], figures[name]];
    if (!from || to === null) continue;
    const percent = ((to - from) / from) * 100;
    const said = `${name} grew by ${percent.toFixed(0)} % (${from} → ${to})`;
    if (percent > stop) stops.push(`${said}, more than ${stop} %`);
    else if (percent > warn) warnings.push(`${said}, more than ${warn} %`);
  }
  if (claims.removed.length) stops.push(`claims are gone: ${claims.removed.join(', ')}`);
  if (ports.added.length) warnings.push(`new ports: ${ports.added.join(', ')}`);
  return { warnings, stops };
}
