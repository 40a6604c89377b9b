/** Who may go where. */
import type { Entry, LiveEntry } from '../../../../src/contract/edge.ts';
import type { InstancePlace } from './place.ts';

/**
 * An instance is for its owner and those in `shares`; an app for the owner and those it is shared with, and for nobody
 * because of the instance's shares.
 */
export function may(user: string, entry: Entry | undefined, place: InstancePlace): entry is LiveEntry {
  if (entry?.state !== 'live') return false;
  if (entry.owner === user) return true;
  if (place.kind === 'ui') return entry.shares.includes(user);
  return entry.apps.some(({ port, shares }) => port === place.port && shares.includes(user));
}
