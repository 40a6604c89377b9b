import type { InstanceRecord } from '../launch/records.ts';
import { ask } from '../ops/channel.ts';
import { status } from '../ops/status.ts';
import type { Box } from './rotate.ts';

/** An instance as the box of a key. */
export function boxOf(record: InstanceRecord): Box {
  return {
    id: record.instance_id,
    user: record.user,
    set: async (key) => {
      await ask(record, 'set-openrouter-key', { key });
    },
    digest: async () => (await status(record)).openrouterKeyDigest ?? null,
  };
}
