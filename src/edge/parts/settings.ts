import { inputError } from '../../process/errors.ts';
import { asked } from '../api.ts';
import { type Change, type Context, type Part, same } from '../change.ts';
import type { Zone } from '../zone.ts';

const DAY_S = 86_400;

/**
 * Zone settings by Cloudflare's IDs: https://developers.cloudflare.com/api/resources/zones/subresources/settings/. `strict`: the
 * instance's certificate is checked. 0-RTT stays off: what it carries can be sent again by others.
 */
export function wanted({ tls, hsts }: Zone): Record<string, unknown> {
  return {
    ssl: 'strict',
    min_tls_version: tls.minimum,
    tls_1_3: 'on',
    '0rtt': 'off',
    always_use_https: 'on',
    websockets: 'on',
    security_header: {
      strict_transport_security: {
        ...{ enabled: true, max_age: hsts.days * DAY_S, include_subdomains: hsts.subdomains },
        ...{ preload: false, nosniff: true },
      },
    },
  };
}

const permissions = ['Zone Settings: Edit'];

/** They have no owner: what they were before isn't known, so they stay as they are when the rest is taken away. */
export const settings: Part = {
  name: 'settings',
  permissions,
  changes: async (context) => {
    const changes = await Promise.all(Object.entries(wanted(context.zone)).map((entry) => changeOf(context, ...entry)));
    return changes.filter((change) => change !== undefined);
  },
  removal: async () => [],
};

async function changeOf({ api, zoneId }: Context, id: string, to: unknown): Promise<Change | undefined> {
  const now = (await asked(
    `reading the setting ${id}`,
    permissions,
    api.zones.settings.get(id, { zone_id: zoneId }),
  )) as {
    value?: unknown;
    editable?: boolean;
  };
  if (same(now.value, to)) return undefined;
  if (now.editable === false)
    throw inputError('edge', `the zone's plan doesn't let the setting ${id} be changed`, 'nothing was changed');
  const change = { zone_id: zoneId, value: to } as Parameters<typeof api.zones.settings.edit>[1];
  return {
    ...{ what: 'update', name: `setting ${id}`, from: now.value, to },
    apply: () => asked(`setting ${id}`, permissions, api.zones.settings.edit(id, change)),
  };
}
