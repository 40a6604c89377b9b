import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ImageManifest, refuseFallback } from '../manifest/image.ts';
import { inputError } from '../process/errors.ts';
import { isGreen, type Report, reportSchema, type Scope } from '../verify/report/schema.ts';

/**
 * Refuses whatever wasn't proven: an image instead of the one that was asked for, one without a layer, one whose report is
 * missing, red, partial, of another disk, or of a lesser scope.
 *
 * @returns the report that lets it pass.
 * @throws BuildError (input) with the reason.
 */
export function requireProof(dir: string, image: ImageManifest, scope: Scope): Report {
  refuseFallback(image);
  if (image.without.length)
    throw refused(image, `it was baked without ${image.without.join(', ')}`, 'bake it whole: make bake');
  const unbuilt = image.layers.filter(({ state }) => state !== 'active').map(({ name }) => name);
  if (unbuilt.length) throw refused(image, `${unbuilt.join(', ')} isn't built yet`, 'build the layer, then bake');
  // A later run of scope ci leaves the full one's report where only a full one writes.
  const wanted = scope === 'full' ? [join('full', 'report.json')] : ['report.json', join('full', 'report.json')];
  const prove = `npm run -s verify -- --image ${dir}${scope === 'full' ? ' --scope full' : ''}`;
  const reports = wanted.map((name) => join(dir, 'verify', name)).filter((file) => existsSync(file));
  if (!reports.length) throw refused(image, `there is no proof of scope ${scope}`, `prove it: ${prove}`);
  const faults: string[] = [];
  for (const file of reports) {
    const report = readReport(file);
    const fault = typeof report === 'string' ? report : faultOf(report, image, scope);
    if (fault === undefined) return report as Report;
    faults.push(fault);
  }
  throw refused(image, faults[0] as string, `prove it anew: ${prove}`);
}

function readReport(file: string): Report | string {
  try {
    const parsed = reportSchema.safeParse(JSON.parse(readFileSync(file, 'utf8')));
    return parsed.success ? parsed.data : `${file} has another form`;
  } catch {
    return `${file} isn't JSON`;
  }
}

function faultOf(report: Report, image: ImageManifest, scope: Scope): string | undefined {
  if (report.image !== image.id) return `its report is of ${report.image}`;
  if (report.rawSha256 !== image.disk.rawSha256) return 'its report is of another disk';
  if (report.only) return `its report is of a part only (${report.only})`;
  if (scope === 'full' && report.scope !== 'full') return `its report is of scope ${report.scope}`;
  const { totals } = report;
  if (!isGreen(report))
    return `its report is red: ${totals.failed} claims failed, ${totals.executed} of ${totals.declared} were executed`;
  return undefined;
}

function refused({ id }: ImageManifest, why: string, hint: string) {
  return inputError('publish', `${id} isn't published: ${why}`, hint);
}
