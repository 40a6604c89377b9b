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

/** Whoever comes next in this process waits for who is at it. */
let last: Promise<unknown> = Promise.resolve();

/** Does something with keys while nobody else does. @throws BuildError where another process does. */
export function withKeys<T>(work: () => Promise<T>): Promise<T> {
  const mine = last.then(async () => {
    mkdirSync(keysDir(), { recursive: true, mode: 0o700 });
    const release = await lockFolders([keysDir()], 'keys');
    try {
      return await work();
    } finally {
      await release();
    }
  });
  last = mine.catch(() => undefined);
  return mine;
}

/** Whether this process may make and end keys at OpenRouter. */
export const mayManageKeys = () => Boolean(process.env.OPENROUTER_MANAGEMENT_KEY);

/**
 * Disables an instance's keys at OpenRouter, whoever made them; the instance itself isn't asked.
 * @throws BuildError (input) without OPENROUTER_MANAGEMENT_KEY, where it has any by the journal here; where OpenRouter isn't reached.
 */
export async function retireKeys({ instance_id: id, user }: InstanceRecord): Promise<void> {
  if (mayManageKeys() || hasKey({ instance_id: id })) await withKeys(() => disableKeys(openRouterKeys(), { id, user }));
}
