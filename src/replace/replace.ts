import type { Taken } from '../contract/ops.ts';
import { amendRecord, type InstanceRecord, listRecords, readRecord } from '../launch/records.ts';
import { inputError, renderError } from '../process/errors.ts';
import type { Progress } from '../process/progress.ts';
import { forgetReplacement, type Noted, noteReplacement, readReplacement } from './journal.ts';

/** What a replacement does to the world. Each may fail or be cut anywhere, and be called again. */
export interface Hands {
  /**
   * Looks whether all is there that a replacement will need; changes nothing.
   * @returns the slugs that lead to the instance.
   * @throws BuildError where anything is missing: an image, a key of the operator's, the instance's own answer.
   */
  prepare(old: InstanceRecord): Promise<string[]>;
  /** The slugs that lead to an instance; it isn't asked itself. */
  slugs(record: InstanceRecord): string[];
  /** Launches what takes an instance's place: the same owner, keys and front. Live when it returns; what fails leaves nothing. */
  launch(old: InstanceRecord): Promise<InstanceRecord>;
  /** Ends the old one's OpenClaw, then gives its home to the other: all of it, or documents alone. */
  move(old: InstanceRecord, next: InstanceRecord, documents: boolean): Promise<Taken>;
  /** Mints a key with the other one's caps. @returns whether that one has any. */
  bringKey(from: InstanceRecord, to: InstanceRecord): Promise<boolean>;
  /** Ends what keys an instance has at OpenRouter. */
  retireKeys(record: InstanceRecord): Promise<void>;
  /** @throws BuildError unless it passes all of its checks now, OpenClaw's answer among them. */
  check(record: InstanceRecord): Promise<void>;
  /** Leads slugs to an instance. @throws BuildError unless it answers there. */
  lead(slugs: string[], to: InstanceRecord): Promise<void>;
  /** Has an instance's OpenClaw run again, if it doesn't. @returns its record, which may have another address. */
  revive(record: InstanceRecord): Promise<InstanceRecord>;
  /** Switches an instance off; its disk stays. */
  stop(record: InstanceRecord): Promise<void>;
  destroy(record: InstanceRecord): Promise<void>;
}

export interface Replaced {
  old: string;
  next: string;
  /** Null where an earlier run had moved it. */
  taken: Taken | null;
  /** Whether it has an OpenRouter key of its own; null as `taken`. */
  key: boolean | null;
}

/**
 * A new instance takes over from another. The old one's OpenClaw ends before its home is copied, and goes on where anything fails;
 * then it is switched off, until somebody destroys it or goes back to it. Cut anywhere, the same call takes back what was begun and
 * does it anew, or finishes what was decided. Calls for one instance must not run side by side.
 *
 * @param options.suspect carries documents alone: nothing that a machine or the agent would act upon.
 */
export async function replaceInstance(
  old: InstanceRecord,
  options: { suspect: boolean },
  hands: Hands,
  progress: Progress,
): Promise<Replaced> {
  const { instance_id: id } = old;
  if (old.cloud === 'other')
    throw inputError('replace', `${id} was launched by other means`, 'launch its successor the same way');
  if (old.retired) throw inputError('replace', `${id} was gone back from`, 'the one that it had replaced goes on');
  const noted = readReplacement(id);
  const successor = successorOf(id);
  if (noted?.phase === 'returning')
    throw inputError(
      'replace',
      `going back to ${id} was cut`,
      `npm run replace -- ${successor?.instance_id} --rollback`,
    );
  if (noted?.phase === 'leading' && successor)
    return finish(old, successor, noted, { taken: null, key: null }, hands, progress);
  if (noted) await takeBack(old, noted, hands, progress);
  else if (successor) throw inputError('replace', `${id} was replaced by ${successor.instance_id}`, 'name that one');
  // Whoever said once that somebody may have been in has said it.
  const suspect = options.suspect || noted?.suspect === true;
  const slugs = await progress.step(`${id}: is all there that is needed?`, () => hands.prepare(old));
  let now: Noted = { phase: 'begun', suspect, slugs };
  const note = (phase: Noted['phase']) => {
    now = { ...now, phase };
    noteReplacement(id, now);
  };
  note('begun');
  let done: Pick<Replaced, 'taken' | 'key'>;
  let next: InstanceRecord;
  try {
    next = await hands.launch(old);
    const to = next;
    note('moving');
    const taken = await progress.step(`${id}: move its home${suspect ? ', documents alone' : ''}`, () =>
      hands.move(old, to, suspect),
    );
    const key = await progress.step(`${id}: a new OpenRouter key`, () => hands.bringKey(old, to));
    await progress.step(`${id}: ${to.instance_id} checks itself`, () => hands.check(to));
    note('leading');
    done = { taken, key };
  } catch (error) {
    await takeBack(old, now, hands, progress).catch((left: unknown) => {
      process.stderr.write(`${id}: not all could be taken back\n${renderError(left)}\n`);
    });
    throw error;
  }
  return finish(old, next, now, done, hands, progress);
}

/** The one that was launched in an instance's place: for good where no replacement is on its way. */
export function successorOf(id: string): InstanceRecord | undefined {
  return listRecords().records.find(({ replaces }) => replaces === id);
}

/**
 * The old one goes on, where it was touched, and what was launched goes. One thing that fails doesn't keep the other: a box that can't be
 * revived must not leave another one running.
 */
async function takeBack(
  old: InstanceRecord,
  { phase }: Pick<Noted, 'phase'>,
  hands: Hands,
  progress: Progress,
): Promise<void> {
  const { instance_id: id } = old;
  const failed: unknown[] = [];
  const attempt = (work: Promise<unknown>) => work.catch((error: unknown) => failed.push(error));
  // First of all: somebody waits for it.
  if (phase === 'moving') await attempt(progress.step(`${id}: goes on`, () => hands.revive(old)));
  const next = successorOf(id);
  if (next) {
    await attempt(hands.retireKeys(next));
    await attempt(progress.step(`${id}: take back ${next.instance_id}`, () => hands.destroy(next)));
  }
  if (!successorOf(id)) forgetReplacement(id);
  if (failed.length) throw failed[0];
}

async function finish(
  old: InstanceRecord,
  next: InstanceRecord,
  { slugs }: Pick<Noted, 'slugs'>,
  done: Pick<Replaced, 'taken' | 'key'>,
  hands: Hands,
  progress: Progress,
): Promise<Replaced> {
  const { instance_id: id } = old;
  if (slugs.length)
    await progress.step(`${id}: lead ${slugs.join(', ')} to ${next.instance_id}`, () => hands.lead(slugs, next));
  await hands.retireKeys(old);
  await hands.stop(old);
  forgetReplacement(id);
  return { old: id, next: next.instance_id, ...done };
}

/**
 * Goes back to the instance that was replaced: it is switched on, on its home as it was when it was replaced, with a new key. What
 * the other one has done since stays on its disk; it is switched off. Cut anywhere, the same call goes on.
 *
 * @throws BuildError (input) where it took nobody's place, has been replaced itself, or that one is gone.
 */
export async function rollBack(next: InstanceRecord, hands: Hands, progress: Progress): Promise<Replaced> {
  const { instance_id: id, replaces } = next;
  if (!replaces) throw inputError('replace', `${id} took nobody's place`, 'npm run -s launch -- list');
  const after = successorOf(id);
  if (after) throw inputError('replace', `${id} was replaced by ${after.instance_id}`, 'go back from that one first');
  const noted = readReplacement(replaces);
  if (noted && noted.phase !== 'returning')
    throw inputError('replace', `${replaces} wasn't replaced by ${id} to the end`, `npm run replace -- ${replaces}`);
  const slugs = noted?.slugs ?? hands.slugs(next);
  noteReplacement(replaces, { phase: 'returning', suspect: false, slugs });
  const old = await progress.step(`${replaces}: goes on`, () => hands.revive(readRecord(replaces)));
  await progress.step(`${replaces}: checks itself`, () => hands.check(old));
  const key = await progress.step(`${replaces}: a new OpenRouter key`, () => hands.bringKey(next, old));
  if (slugs.length) await progress.step(`${replaces}: lead ${slugs.join(', ')} to it`, () => hands.lead(slugs, old));
  await hands.retireKeys(next);
  await hands.stop(next);
  amendRecord(id, { replaces: null, retired: true });
  forgetReplacement(replaces);
  return { old: id, next: replaces, taken: null, key };
}
