import { createHash, randomBytes } from 'node:crypto';
import { BuildError } from '../process/errors.ts';
import { type KeyEntry, KeyJournal } from './journal.ts';
import type { Caps, OpenRouterKeys } from './openrouter.ts';

/** The box that a key is for. */
export interface Box {
  /** Its instance ID. */
  id: string;
  user: string;
  /** Hands it a key; null takes the one it has away. */
  set(secret: string | null): Promise<void>;
  /** SHA-256 (hex) of the key that it has, as it says, signed; null: none. */
  digest(): Promise<string | null>;
}

export interface RotateKeyOptions {
  caps: Caps;
  /** Milliseconds between the disabling of an old key and its deletion: what it was used for stays to be read meanwhile. */
  graceMs: number;
  detail?: (text: string) => void;
}

/**
 * Gives a box a key of its own, and takes back the one before: create, hand over, check, disable, and, once the grace is over,
 * delete. Independent of the auth code. A key is told once and written nowhere; so one that didn't verifiably arrive is deleted by
 * the next call, which goes on wherever this one was cut.
 *
 * @returns the key that the box has now, and how many old ones were disabled and deleted.
 * @throws BuildError where OpenRouter or the box can't be reached; the box then has one key or the other, and either works.
 */
export async function rotateKey(
  api: OpenRouterKeys,
  box: Box,
  { caps, graceMs, detail }: RotateKeyOptions,
): Promise<{ hash: string; disabled: number; deleted: number }> {
  const journal = await openJournal(api, box);
  await settle(api, box, journal);
  // Cut after the new one had arrived: what is left is to take back the old.
  const current = journal.keys.filter(({ phase }) => phase === 'current');
  const last = current.at(-1);
  const arrived = current.length > 1 && last?.digest && (await box.digest()) === last.digest ? last : undefined;
  if (arrived) return { hash: arrived.hash as string, ...(await retire(api, journal, arrived, graceMs)) };
  const entry = journal.keys.find(({ phase }) => phase === 'created') ?? (await bring(api, box, journal, caps, detail));
  if ((await box.digest()) !== entry.digest)
    throw new BuildError('keys', `${box.id} doesn't have the key that it was given`, 'the same command tries again');
  // Both are current for a moment; the older goes.
  journal.update(entry, { phase: 'current' });
  return { hash: entry.hash as string, ...(await retire(api, journal, entry, graceMs)) };
}

/** With all that OpenRouter has for this box, whichever machine it was made on. */
async function openJournal(api: OpenRouterKeys, box: Pick<Box, 'id' | 'user'>): Promise<KeyJournal> {
  const journal = KeyJournal.open(box.id);
  journal.adopt((await api.list()).filter(({ name }) => name.startsWith(prefixOf(box))));
  return journal;
}

/** What an interrupted call left: a key that isn't on the box is of no use to anybody. */
async function settle(api: OpenRouterKeys, box: Box, journal: KeyJournal): Promise<void> {
  for (const entry of journal.keys.filter(({ phase }) => phase === 'creating' || phase === 'created')) {
    if (entry.phase === 'created' && (await box.digest()) === entry.digest) continue;
    await drop(api, journal, entry);
  }
}

/** Deletes a key, also one whose hash was never heard. */
async function drop(api: OpenRouterKeys, journal: KeyJournal, entry: KeyEntry): Promise<void> {
  const hashes = entry.hash
    ? [entry.hash]
    : (await api.list()).filter(({ name }) => name === entry.name).map(({ hash }) => hash);
  for (const hash of hashes) await api.remove(hash);
  journal.update(entry, { phase: 'gone' });
}

async function bring(
  api: OpenRouterKeys,
  box: Box,
  journal: KeyJournal,
  caps: Caps,
  detail: ((text: string) => void) | undefined,
): Promise<KeyEntry> {
  detail?.('creating a key');
  const entry = journal.add(nameOf(box));
  const { hash, secret } = await api.create(entry.name, caps);
  const digest = createHash('sha256').update(secret).digest('hex');
  journal.update(entry, { phase: 'created', hash, digest });
  // Before the box gives up the one it has.
  if (!(await api.takes(secret)))
    throw new BuildError('keys', 'OpenRouter refuses the key that it has just made', 'the same command makes another');
  detail?.('handing it over');
  await box.set(secret);
  return entry;
}

const prefixOf = ({ id, user }: Pick<Box, 'id' | 'user'>) => `clawdy/${user}/${id}/`;

/** Unlike any other; says for people whose it is. */
const nameOf = (box: Box) => `${prefixOf(box)}${randomBytes(6).toString('hex')}`;

/** Disables what came before, and deletes what was disabled a grace ago. */
async function retire(
  api: OpenRouterKeys,
  journal: KeyJournal,
  keep: KeyEntry | undefined,
  graceMs: number,
): Promise<{ disabled: number; deleted: number }> {
  let [disabled, deleted] = [0, 0];
  for (const entry of journal.keys) {
    if (entry.phase === 'current' && entry !== keep) {
      await api.disable(entry.hash as string);
      journal.update(entry, { phase: 'disabled', disabled: new Date().toISOString() });
      disabled++;
    }
    if (entry.phase === 'disabled' && Date.now() - Date.parse(entry.disabled as string) >= graceMs) {
      await drop(api, journal, entry);
      deleted++;
    }
  }
  return { disabled, deleted };
}

/**
 * Disables a box's keys, one that is on its way too: its agent is told so by OpenRouter until the next rotation.
 * @returns how many; none is fine.
 */
export async function disableKeys(api: OpenRouterKeys, box: Pick<Box, 'id' | 'user'>): Promise<number> {
  const journal = await openJournal(api, box);
  for (const entry of journal.keys) {
    if (entry.phase === 'creating') await drop(api, journal, entry);
    if (entry.phase === 'created') journal.update(entry, { phase: 'current' });
  }
  const { disabled } = await retire(api, journal, undefined, Number.POSITIVE_INFINITY);
  return disabled;
}

/** Deletes every key of a box at OpenRouter, first of all, and then takes it from the box. @returns how many. */
export async function revokeKeys(api: OpenRouterKeys, box: Box): Promise<number> {
  const journal = await openJournal(api, box);
  const left = journal.keys.filter(({ phase }) => phase !== 'gone');
  for (const entry of left) await drop(api, journal, entry);
  await box.set(null);
  return left.length;
}

/**
 * The caps of the newest key that works of a box: its successor gets the same, and as long a life.
 * @returns undefined where it has none.
 */
export async function capsOf(api: OpenRouterKeys, box: Pick<Box, 'id' | 'user'>): Promise<Caps | undefined> {
  const working = (await api.list()).filter(({ name, disabled }) => name.startsWith(prefixOf(box)) && !disabled);
  const key = working.sort((one, other) => Date.parse(one.createdAt) - Date.parse(other.createdAt)).at(-1);
  if (!key) return undefined;
  const expiresAt = key.expiresAt ? new Date(Date.now() + key.expiresAt.getTime() - Date.parse(key.createdAt)) : null;
  return { limit: key.limit, limitReset: key.limitReset as Caps['limitReset'], expiresAt };
}
