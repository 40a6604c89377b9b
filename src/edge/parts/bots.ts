import { asked } from '../api.ts';
import type { Part } from '../change.ts';

const permissions = ['Bot Management: Edit'];

/** Bot Fight Mode; off unless it is asked for, since no rule can let a program through it. */
export const bots: Part = {
  name: 'bots',
  permissions,
  changes: async ({ api, zone, zoneId }) => {
    const to = zone.bots.fight;
    const now = await asked('reading bot settings', permissions, api.botManagement.get({ zone_id: zoneId }));
    const from = (now as { fight_mode?: boolean }).fight_mode ?? false;
    if (from === to) return [];
    const apply = () =>
      asked('setting Bot Fight Mode', permissions, api.botManagement.update({ zone_id: zoneId, fight_mode: to }));
    return [{ what: 'update', name: 'Bot Fight Mode', from, to, apply }];
  },
  removal: async () => [],
};
