import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { renderHtml } from './html.ts';
import { renderJunit } from './junit.ts';
import type { Report } from './schema.ts';

/**
 * Keeps a whole report beside its image: report.json, junit.xml, report.html. The first comes last and in one rename, so
 * that where it is, it is whole.
 *
 * @returns the folder.
 */
export function writeReport(imageDir: string, report: Report): string {
  const dir = join(imageDir, 'verify');
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'junit.xml'), renderJunit(report));
  writeFileSync(join(dir, 'report.html'), renderHtml(report));
  const partial = join(dir, '.report.json');
  writeFileSync(partial, `${JSON.stringify(report, null, 2)}\n`);
  renameSync(partial, join(dir, 'report.json'));
  return dir;
}
