import type { Taken } from '../contract/ops.ts';
import { amendRecord, type InstanceRecord, listRecords, readRecord } from '../launch/records.ts';
import { inputError, renderError } from '../process/errors.ts';
import type { Progress } from '../process/progress.ts';
import { forgetReplacement, noteReplacement, readReplacement } from './journal.ts';

/** What a replacement does to the world. Each may fail or be cut anywhere, and be called again. */
export interface Hands {
  /** Launches what takes an instance's place: the same owner, keys and front. Live when it returns; what fails leaves nothing. */
  launch(old: InstanceRecord): Promise<InstanceRecord>;
  /** Ends the old one's OpenClaw, then gives its home to the other: all of it, or documents alone. */
  move(old: InstanceRecord, next: InstanceRecord, documents: boolean): Promise<Taken>;
  /** Mints a key with the old one's caps for the new one. @returns whether the old one has any. */
  bringKey(from: InstanceRecord, to: InstanceRecord): Promise<boolean>;
  /** Ends what keys an instance has at OpenRouter. */
  retireKeys(record: InstanceRecord): Promise<void>;
  /** @throws BuildError unless it passes all of its checks now, OpenClaw's answer among them. */
  check(record: InstanceRecord): Promise<void>;
  /** Leads the slugs of one instance to another. */
  lead(from: InstanceRecord, to: InstanceRecord): Promise<void>;
  /** Has an instance's OpenClaw run again, if it doesn't. */
  revive(record: InstanceRecord): Promise<void>;
  /** Switches an instance off. */
  stop(record: InstanceRecord): Promise<void>;
  destroy(record: InstanceRecord): Promise<void>;
}

export interface Replaced {
  old: string;
  next: string;
  /** Null where an earlier run had moved it. */
  taken: Taken | null;
  /** Whether it has an OpenRouter key of its own. */
  key: boolean | null;
}

/**
 * A new instance takes over from another. The old one's OpenClaw ends before its home is copied, and goes on where anything fails;
 * it stays, quiet, until somebody destroys it or goes back to it. Cut anywhere, the same call takes back what was begun and does it
 * anew, or finishes what was decided.
 *
 * @param options.suspect carries documents alone: nothing that a machine or the agent would act upon.
 */
export async function replaceInstance(
  old: InstanceRecord,
  { suspect }: { suspect: boolean },
  hands: Hands,
  progress: Progress,
): Promise<Replaced> {
  const { instance_id: id } = old;
  if (old.cloud === 'other')
    throw inputError('replace', `${id} was launched by other means`, 'launch its successor the same way');
  const noted = readReplacement(id);
  const successor = successorOf(id);
  if (noted?.phase === 'leading' && successor)
    return finish(old, successor, { taken: null, key: null }, hands, progress);
  if (noted) await takeBack(old, hands, progress);
  else if (successor) throw inputError('replace', `${id} was replaced by ${successor.instance_id}`, 'name that one');
  noteReplacement(id, { phase: 'begun', suspect });
  let done: Pick<Replaced, 'taken' | 'key'>;
  let next: InstanceRecord;
  try {
    next = await hands.launch(old);
    const to = next;
    const taken = await progress.step(`${id}: move its home${suspect ? ', documents alone' : ''}`, () =>
      hands.move(old, to, suspect),
    );
    const key = await progress.step(`${id}: a new OpenRouter key`, () => hands.bringKey(old, to));
    await progress.step(`${id}: ${to.instance_id} checks itself`, () => hands.check(to));
    noteReplacement(id, { phase: 'leading', suspect });
    done = { taken, key };
  } catch (error) {
    await takeBack(old, hands, progress).catch((left: unknown) => {
      process.stderr.write(`${id}: the same command takes back what is left\n${renderError(left)}\n`);
    });
    throw error;
  }
  return finish(old, next, done, hands, progress);
}

/** The one that was launched in an instance's place: for good where no replacement is on its way. */
export function successorOf(id: string): InstanceRecord | undefined {
  return listRecords().records.find(({ replaces }) => replaces === id);
}

async function takeBack(old: InstanceRecord, hands: Hands, progress: Progress): Promise<void> {
  const { instance_id: id } = old;
  // First of all: somebody waits for it.
  await progress.step(`${id}: goes on`, () => hands.revive(old));
  const next = successorOf(id);
  if (next) {
    await hands.retireKeys(next);
    await progress.step(`${id}: take back ${next.instance_id}`, () => hands.destroy(next));
  }
  forgetReplacement(id);
}

async function finish(
  old: InstanceRecord,
  next: InstanceRecord,
  done: Pick<Replaced, 'taken' | 'key'>,
  hands: Hands,
  progress: Progress,
): Promise<Replaced> {
  const { instance_id: id } = old;
  await progress.step(`${id}: lead to ${next.instance_id}`, () => hands.lead(old, next));
  await hands.retireKeys(old);
  forgetReplacement(id);
  return { old: id, next: next.instance_id, ...done };
}

/**
 * Goes back to the instance that was replaced: its OpenClaw runs again, on its home as it was when it was replaced, with a new
 * key. What the other one has done since stays on its disk; it is switched off. Cut anywhere, the same call goes on.
 *
 * @throws BuildError (input) where it took nobody's place, or that one is gone.
 */
export async function rollBack(next: InstanceRecord, hands: Hands, progress: Progress): Promise<Replaced> {
  const { instance_id: id, replaces } = next;
  if (!replaces) throw inputError('replace', `${id} took nobody's place`, 'npm run -s launch -- list');
  const old = readRecord(replaces);
  if (readReplacement(replaces))
    throw inputError('replace', `${replaces} wasn't replaced by ${id} to the end`, `npm run replace -- ${replaces}`);
  await progress.step(`${replaces}: goes on`, () => hands.revive(old));
  await progress.step(`${replaces}: checks itself`, () => hands.check(old));
  const key = await progress.step(`${replaces}: a new OpenRouter key`, () => hands.bringKey(next, old));
  await progress.step(`${replaces}: lead to it`, () => hands.lead(next, old));
  await hands.retireKeys(next);
  await hands.stop(next);
  amendRecord(id, { replaces: null });
  return { old: id, next: replaces, taken: null, key };
}
