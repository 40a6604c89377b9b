import { mkdirSync } from 'node:fs';
import { keysDir } from '../launch/places.ts';
import type { InstanceRecord } from '../launch/records.ts';
import { lockFolders } from '../publish/lock.ts';
import { KeyJournal } from './journal.ts';
import { openRouterKeys } from './openrouter.ts';
import { disableKeys } from './rotate.ts';

/** Whether an instance has a key at OpenRouter that works, or one that is on its way, as its journal here says. */
export const hasKey = ({ instance_id: id }: Pick<InstanceRecord, 'instance_id'>) =>
  KeyJournal.open(id).keys.some(({ phase }) => phase === 'current' || phase === 'created' || phase === 'creating');

/** Does something with keys while nobody else does. @throws BuildError where somebody does. */
export async function withKeys<T>(work: () => Promise<T>): Promise<T> {
  mkdirSync(keysDir(), { recursive: true, mode: 0o700 });
  const release = await lockFolders([keysDir()], 'keys');
  try {
    return await work();
  } finally {
    await release();
  }
}

/**
 * Disables an instance's keys at OpenRouter; the instance itself isn't asked.
 * @throws BuildError (input) without OPENROUTER_MANAGEMENT_KEY, where it has any; where OpenRouter isn't reached.
 */
export async function retireKeys({ instance_id: id, user }: InstanceRecord): Promise<void> {
  if (hasKey({ instance_id: id })) await withKeys(() => disableKeys(openRouterKeys(), { id, user }));
}
