import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { renderHtml } from './html.ts';
import { renderJunit } from './junit.ts';
import type { Report, Scope } from './schema.ts';

/**
 * Keeps a whole report beside its image: report.json, junit.xml, report.html in `verify/`; those of scope full in
 * `verify/full/` too, where a later ci run leaves them. report.json comes last and in one rename, so that where it is, it
 * is whole.
 *
 * @returns the folder.
 */
export function writeReport(imageDir: string, report: Report): string {
  const dir = join(imageDir, 'verify');
  writeTo(dir, report);
  if (report.scope === 'full') writeTo(join(dir, 'full'), report);
  return dir;
}

/** Before a whole run: a run that is cut short must not leave the report of an earlier one as its own. */
export function forgetReport(imageDir: string, scope: Scope): void {
  for (const dir of [join(imageDir, 'verify'), ...(scope === 'full' ? [join(imageDir, 'verify', 'full')] : [])])
    rmSync(join(dir, 'report.json'), { force: true });
}

function writeTo(dir: string, report: Report): void {
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'junit.xml'), renderJunit(report));
  writeFileSync(join(dir, 'report.html'), renderHtml(report));
  const partial = join(dir, '.report.json');
  writeFileSync(partial, `${JSON.stringify(report, null, 2)}\n`);
  renameSync(partial, join(dir, 'report.json'));
}
