import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { readImage } from '../../src/manifest/image.ts';
import type { Report, Scope } from '../../src/verify/report/schema.ts';

/** A report as a green verification leaves it. What publishing makes of reports is what tests ask, not the claims. */
export function reportOf(dir: string, scope: Scope, changes: Partial<Report> = {}): Report {
  const { id, base, disk } = readImage(dir);
  return {
    schema: 1,
    image: id,
    base: base.id,
    rawSha256: disk.rawSha256,
    scope,
    started: '2026-11-25T00:00:00.000Z',
    seconds: 1,
    layers: [],
    totals: { declared: 1, executed: 1, passed: 1, failed: 0, skipped: 0 },
    ...changes,
  };
}

export function writeReportAt(dir: string, name: 'report.json' | 'full/report.json', text: string): void {
  const file = join(dir, 'verify', name);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}

/** A folder with an image's own files and a green full report, whatever the image's real proof is. */
export function provenCopy(imageDir: string, into: string): string {
  mkdirSync(into, { recursive: true });
  for (const name of readdirSync(imageDir).filter((one) => one !== 'verify'))
    symlinkSync(join(imageDir, name), join(into, name));
  proveAll(into);
  return into;
}

/** Leaves a green full report, as a full verification does, in both places. */
export function proveAll(dir: string): void {
  const text = JSON.stringify(reportOf(dir, 'full'));
  for (const name of ['report.json', 'full/report.json'] as const) writeReportAt(dir, name, text);
}
