import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Cloudflare } from 'cloudflare';
import { BuildError, inputError } from '../process/errors.ts';
import { all, asked } from './api.ts';
import { countedReports } from './ban-reports.ts';
import { decide } from './bans.ts';
import type { Change, Context, Part } from './change.ts';
import { limitsOf } from './limits.ts';
import { access } from './parts/access.ts';
import { banList, formerBanList } from './parts/ban-list.ts';
import { bots } from './parts/bots.ts';
import { dns } from './parts/dns.ts';
import { kv } from './parts/kv.ts';
import { originPulls } from './parts/origin-pulls.ts';
import { routes } from './parts/routes.ts';
import { banRule, roomForBans, rules } from './parts/rules.ts';
import { settings } from './parts/settings.ts';
import { formerWorker, worker } from './parts/worker.ts';
import { readServed } from './served.ts';
import type { Zone } from './zone.ts';

/** In the order in which they are put in place: what protects comes before what leads visitors there. */
export const PARTS: Part[] = [
  ...[settings, originPulls, banList, rules, formerBanList, bots, access],
  ...[kv, worker, routes, formerWorker, dns],
];

/** Of the bans: the list, and the rule that names it. */
export const BAN_PARTS: Part[] = [banList, banRule];

/** What is to be done in one part. */
export interface Planned {
  part: string;
  changes: Change[];
}

/**
 * @param file zone.yaml.
 * @throws BuildError (input) where there is no such zone, or its plan isn't known.
 */
export async function openZone(
  api: Cloudflare,
  file: string,
  detail: (text: string) => void = () => {},
): Promise<Context> {
  const { zone, served } = readServed(file);
  const [there, more] = await asked(
    `looking for the zone ${zone.zone}`,
    ['Zone: Read'],
    all(api.zones.list({ name: zone.zone })),
  );
  if (!there || more)
    throw inputError(
      'edge',
      `the token sees ${there ? 'several zones' : 'no zone'} ${zone.zone}`,
      'it needs Zone: Read for this very zone',
    );
  const named = [zone.access?.domain, served?.domain, ...zone.origins.map(({ name }) => name)];
  const outside = named.find((name) => name && name !== zone.zone && !name.endsWith(`.${zone.zone}`));
  if (outside) throw inputError('edge', `${outside} isn't in the zone ${zone.zone}`, `correct ${file}`);
  const { legacy_id } = (there as { plan?: { legacy_id?: string } }).plan ?? {};
  return {
    ...{
      api,
      zone,
      folder: dirname(file),
      zoneId: there.id,
      accountId: there.account.id ?? '',
      limits: limitsOf(legacy_id),
      bans: bansOf(zone),
      served,
    },
    detail,
  };
}

/** Baked into images too. */
const CLOUDFLARE = new URL('../../layers/06-cloudflare/rootfs/usr/lib/clawdy/cloudflare/ranges.baked', import.meta.url);

/** As instances told them when they were last asked: what ends later shows when they are asked again, not as drift. */
function bansOf({ zone, bans }: Zone): Context['bans'] {
  if (!bans) return undefined;
  const reports = countedReports();
  if (!reports) return 'unknown';
  const cloudflare = readFileSync(CLOUDFLARE, 'utf8').split('\n').filter(Boolean);
  const isHere = (host: string) => host.endsWith(`.${zone}`);
  const here = reports.map((report) => ({ ...report, hosts: report.hosts.filter(isHere) }));
  return decide(here, bans, cloudflare, roomForBans());
}

/** All that isn't as zone.yaml wants it; changes nothing. @throws BuildError, before anything is changed, for what the plan doesn't have. */
export async function planZone(context: Context, parts: Part[] = PARTS): Promise<Planned[]> {
  return plannedBy(context, parts, (part) => part.changes(context));
}

/** All that is ours. */
export async function planRemoval(context: Context): Promise<Planned[]> {
  return (await plannedBy(context, PARTS, (part) => part.removal(context))).reverse();
}

async function plannedBy(context: Context, parts: Part[], of: (part: Part) => Promise<Change[]>): Promise<Planned[]> {
  const planned: Planned[] = [];
  for (const part of parts) {
    context.detail(part.name);
    planned.push({ part: part.name, changes: await of(part) });
  }
  return planned;
}

/**
 * Does what was planned, and looks again: what is still otherwise is an error. Cut anywhere, the next plan has the rest.
 * @param again plans anew, of the same kind.
 */
export async function applyPlan(
  planned: Planned[],
  again: () => Promise<Planned[]>,
  around: (change: Change, apply: () => Promise<unknown>) => Promise<unknown>,
): Promise<number> {
  let done = 0;
  for (const { changes } of planned) {
    for (const change of changes) {
      await around(change, change.apply);
      done++;
    }
  }
  const left = done === 0 ? [] : (await again()).flatMap(({ changes }) => changes);
  if (left.length > 0)
    throw new BuildError(
      'edge',
      `Cloudflare has taken it otherwise: ${left.map(({ name }) => name).join(', ')}`,
      'npm run edge -- plan shows what it says now; somebody else may be changing the zone',
    );
  return done;
}
