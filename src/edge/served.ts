import { dirname, join } from 'node:path';
import { RESERVED_SLUGS, SLUG_PATTERN } from '../contract/edge.ts';
import { inputError } from '../process/errors.ts';
import { readZone, type Zone } from './zone.ts';

/** What of a zone the auth proxy's Worker answers. */
export interface Served {
  /** The Worker's name, and the zone whose file makes it. */
  script: string;
  maker: string;
  /** Its hosts are one label below. */
  domain: string;
}

/**
 * Reads a zone's file, and where its apps' Worker is another zone's the file of that.
 * @returns with `appsOf` origins and bans are that zone's, origins by the same labels below the apps' domain.
 * @throws BuildError (input) for what doesn't go together.
 */
export function readServed(file: string): { zone: Zone; served: Served | undefined } {
  const zone = readZone(file);
  if (zone.worker && zone.appsOf)
    throw inputError(
      'edge',
      `${file} has worker and appsOf`,
      "the apps' domain is another zone's, with a file of its own",
    );
  if (zone.worker) {
    const { name: script, edge } = zone.worker;
    for (const { name } of zone.origins) labelOf(name, edge.uiDomain, file);
    return { zone, served: { script, maker: zone.zone, domain: edge.uiDomain } };
  }
  if (!zone.appsOf) return { zone, served: undefined };
  if (zone.origins.length)
    throw inputError('edge', `${file} has origins of its own`, `with appsOf they are those of ${zone.appsOf}`);
  const makersFile = join(dirname(file), zone.appsOf);
  if (zone.bans)
    throw inputError('edge', `${file} has bans of its own`, `with appsOf they are those of ${zone.appsOf}`);
  const { worker, origins, zone: maker, bans } = readZone(makersFile);
  if (!worker) throw inputError('edge', `${makersFile} has no worker`, `appsOf in ${file} is for the zone that has it`);
  const { uiDomain, appsDomain: domain } = worker.edge;
  const apps = origins.map(({ name, address }) => ({ name: appsNameOf(name, uiDomain, domain, makersFile), address }));
  return { zone: { ...zone, origins: apps, bans }, served: { script: worker.name, maker, domain } };
}

/** By which name of the apps' zone the Worker finds an instance that it otherwise finds by `name`. */
export const appsNameOf = (name: string, uiDomain: string, appsDomain: string, file: string) =>
  `${labelOf(name, uiDomain, file)}.${appsDomain}`;

/** Only what is one label below is behind the route; other names would lead visitors past the Worker. */
function labelOf(name: string, domain: string, file: string): string {
  const label = name.endsWith(`.${domain}`) ? name.slice(0, -domain.length - 1) : '';
  if (SLUG_PATTERN.test(label) && !(RESERVED_SLUGS as readonly string[]).includes(label)) return label;
  throw inputError(
    'edge',
    `${file}: ${name} isn't one name below ${domain}`,
    'visitors would get past the Worker there; call the origin as its instance, or <name>-origin',
  );
}
