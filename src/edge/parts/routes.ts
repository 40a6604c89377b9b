import { inputError } from '../../process/errors.ts';
import { all, asked } from '../api.ts';
import type { Change, Context, Part } from '../change.ts';
import { need } from '../limits.ts';
import type { Served } from '../served.ts';
import { type Script, scriptsOf, tagOf } from './scripts.ts';

const permissions = ['Workers Routes: Edit', 'SSL and Certificates: Edit'];

/** Of a zone, whatever its plan: https://developers.cloudflare.com/workers/platform/limits/#routes-and-domains */
const MOST = 1000;

interface Route {
  id: string;
  pattern: string;
  script?: string;
}

/** Which requests the Worker gets, once it is there; ours by the Worker that it names. */
export const routes: Part = {
  name: 'routes',
  permissions,
  changes: async (context) => {
    const { served, zone, limits } = context;
    if (!served) return removal(context);
    const scripts = await scriptsOf(context, true);
    if (!zone.worker && !scripts.some(({ name, tags }) => name === served.script && tags.includes(tagOf(served.maker))))
      throw inputError(
        'edge',
        `there is no Worker ${served.script} of ${served.maker} yet`,
        `apply ${zone.appsOf} first: npm run edge -- apply --zone ${zone.appsOf}`,
      );
    const there = await list(context);
    const ours = oursOf(context, scripts);
    const isOurs = ({ script }: Route) => ours.includes(script ?? '');
    const mine = there.filter(isOurs);
    const astray = there.find((route) => !isOurs(route) && isBelow(route.pattern, served.domain));
    if (astray)
      throw inputError(
        'edge',
        `the route ${astray.pattern} (${astray.script ? `Worker ${astray.script}` : 'past all Workers'}) isn't ours, and takes visitors of *.${served.domain}`,
        'nothing was changed; remove it, or take another domain',
      );
    const pattern = `*.${served.domain}/*`;
    const now = mine.find((route) => route.pattern === pattern);
    need(limits, now !== undefined || there.length < MOST, `another route beside ${there.length}`);
    if (!now) await checkCertificate(context, served);
    const wanted = !now || now.script !== served.script ? [set(context, now, pattern, served.script)] : [];
    return [...wanted, ...mine.filter((route) => route !== now).map((route) => remove(context, route))];
  },
  removal,
};

/** Workers that a route of ours may name: those that a zone's file has made, and the one of this file also when it is gone. */
function oursOf({ served }: Context, scripts: Script[]): string[] {
  const ours = scripts.filter(({ tags }) => tags.some((tag) => tag.startsWith(tagOf()))).map(({ name }) => name);
  const isGone = served && !scripts.some(({ name }) => name === served.script);
  return isGone ? [...ours, served.script] : ours;
}

/** Whether a pattern is for hosts that our route is for; `www` is no instance's, and may be somebody's site. */
function isBelow(pattern: string, domain: string): boolean {
  const host = pattern.replace(/^\w*:\/\//, '').split('/')[0] as string;
  // A `*` in front takes the domain itself and all below it.
  return (host.endsWith(`.${domain}`) && host !== `www.${domain}`) || host === `*${domain}`;
}

async function removal(context: Context): Promise<Change[]> {
  const ours = oursOf(context, await scriptsOf(context, false));
  if (!ours.length) return [];
  return (await list(context))
    .filter(({ script }) => ours.includes(script ?? ''))
    .map((route) => remove(context, route));
}

async function list({ api, zoneId }: Context): Promise<Route[]> {
  return asked('reading routes', permissions, all(api.workers.routes.list({ zone_id: zoneId })));
}

/**
 * Cloudflare's universal certificate is for the zone and for one label below it:
 * https://developers.cloudflare.com/ssl/edge-certificates/universal-ssl/limitations/
 */
async function checkCertificate({ api, zone, zoneId }: Context, { domain }: Served): Promise<void> {
  if (domain === zone.zone) return;
  const packs = await asked(
    'reading certificates',
    permissions,
    all(api.ssl.certificatePacks.list({ zone_id: zoneId })),
  );
  if (packs.some(({ hosts, status }) => status === 'active' && (hosts as string[]).includes(`*.${domain}`))) return;
  throw inputError(
    'edge',
    `the zone ${zone.zone} has no certificate for *.${domain}: the universal one goes one name deep`,
    `nothing was changed; order an advanced certificate for it, or take ${zone.zone} itself as the domain`,
  );
}

function set({ api, zoneId }: Context, now: Route | undefined, pattern: string, script: string): Change {
  const body = { zone_id: zoneId, pattern, script };
  return {
    ...{ what: now ? 'update' : 'create', name: `route ${pattern}`, from: now?.script, to: script },
    apply: () =>
      asked(
        `route ${pattern}`,
        permissions,
        now ? api.workers.routes.update(now.id, body) : api.workers.routes.create(body),
      ),
  };
}

function remove({ api, zoneId }: Context, { id, pattern, script }: Route): Change {
  return {
    ...{ what: 'delete', name: `route ${pattern}`, from: script },
    apply: () => asked(`removing route ${pattern}`, permissions, api.workers.routes.delete(id, { zone_id: zoneId })),
  };
}
