import type { Cloud, CloudImage, Orphan } from '../clouds/cloud.ts';
import { BuildError } from '../process/errors.ts';
import { DAY_MS, isYoung } from './age.ts';
import { dropBlocks, Journal } from './journal.ts';

export interface PruneOptions {
  /** So many of the newest proven images of each base stay, in each region. */
  keep: number;
  /** Days between an image's deprecation and its removal. */
  graceDays: number;
}

/** One decision; what is kept is said too, with the reason. */
export type Decision = { region: string; why: string } & (
  | { act: 'keep' | 'deprecate' | 'remove'; image: CloudImage }
  | { act: 'leave' | 'sweep'; orphan: Orphan }
);

/**
 * Decides what goes: old images are deprecated first and removed after the grace, never one that a channel or anything
 * else refers to; what interrupted runs have left goes at once. The caller holds the lock, so no run of ours is going on.
 *
 * @param dir folder of the journals.
 */
export async function planPrune(
  cloud: Cloud,
  dir: string,
  options: PruneOptions,
  now = Date.now(),
): Promise<Decision[]> {
  const entries = Journal.all(dir).flatMap(({ publications }) => publications);
  const ours = new Set(entries.filter((entry) => entry.cloud === cloud.name).map(({ run }) => run));
  // Its label may be gone, by hand or by a restore; whoever was told its ID goes on with it.
  const recorded = new Set(
    entries
      .filter(({ cloud: name, recorded, state }) => name === cloud.name && recorded !== null && state !== 'removed')
      .map(({ image_id }) => image_id),
  );
  const decisions: Decision[] = [];
  for (const region of cloud.regions) {
    const images = (await cloud.list(region))
      .map((image) => ({ ...image, proven: image.proven || recorded.has(image.imageId) }))
      .sort((a, b) => b.created.localeCompare(a.created));
    const kept = newest(images, options.keep);
    for (const image of images)
      decisions.push({ region, image, ...judge(image, { kept, ours, now, graceMs: options.graceDays * DAY_MS }) });
    for (const orphan of await cloud.orphans(region)) {
      const why = judgeOrphan(orphan, ours, now);
      decisions.push({ region, orphan, act: why.sweep ? 'sweep' : 'leave', why: why.why });
    }
  }
  return decisions;
}

function newest(images: CloudImage[], keep: number): Set<CloudImage> {
  const kept = new Set<CloudImage>();
  for (const base of new Set(images.map((image) => image.base)))
    for (const image of images.filter((one) => one.base === base && one.proven && !one.deprecated).slice(0, keep))
      kept.add(image);
  return kept;
}

function judge(
  image: CloudImage,
  { kept, ours, now, graceMs }: { kept: Set<CloudImage>; ours: Set<string>; now: number; graceMs: number },
): { act: 'keep' | 'deprecate' | 'remove'; why: string } {
  if (image.channels.length) return { act: 'keep', why: `it is ${image.channels.join(', ')}` };
  if (image.usedBy.length) return { act: 'keep', why: `used by ${image.usedBy.join(', ')}` };
  if (kept.has(image)) return { act: 'keep', why: 'among the newest' };
  if (!image.proven) {
    // Half-made: nobody was told its ID.
    if (ours.has(image.run)) return { act: 'remove', why: 'left by a run that was interrupted' };
    if (isYoung(image, now)) return { act: 'keep', why: "not checked yet, by a run that isn't in our journals" };
    return { act: 'remove', why: 'never checked, older than a day' };
  }
  if (image.deprecated === undefined && graceMs > 0) return { act: 'deprecate', why: 'older than those that are kept' };
  const since = image.deprecated === undefined ? Number.POSITIVE_INFINITY : now - Date.parse(image.deprecated);
  if (since >= graceMs) return { act: 'remove', why: graceMs ? 'deprecated, and its grace is over' : 'no grace' };
  return { act: 'keep', why: `deprecated, for ${Math.ceil((graceMs - since) / DAY_MS)} more days` };
}

function judgeOrphan(orphan: Orphan, ours: Set<string>, now: number): { sweep: boolean; why: string } {
  if (ours.has(orphan.run)) return { sweep: true, why: 'left by a run that was interrupted' };
  if (!isYoung(orphan, now)) return { sweep: true, why: "of a run that isn't in our journals, older than a day" };
  return { sweep: false, why: "of a run that isn't in our journals, younger than a day or of unknown age" };
}

/**
 * Carries the decisions out, first what costs most and is of no use; each may be repeated. The journals are told what is
 * gone, before the next is touched. What fails doesn't keep the rest from going, but where nobody may do anything:
 * credentials that aren't taken.
 *
 * @param done is told of each thing that was changed.
 * @returns what came of each decision: one that isn't true any more, because somebody has promoted or launched the image
 * meanwhile, has become `keep`.
 * @throws BuildError at the end, where something failed.
 */
export async function carryOutPrune(
  cloud: Cloud,
  dir: string,
  decisions: Decision[],
  done: (decision: Decision) => void,
): Promise<Decision[]> {
  const order: Record<Decision['act'], number> = { sweep: 0, remove: 1, deprecate: 2, keep: 3, leave: 3 };
  const became = new Map<Decision, Decision>();
  const failures: unknown[] = [];
  for (const decision of decisions.toSorted((a, b) => order[a.act] - order[b.act]))
    try {
      const now = await carryOne(cloud, dir, decision);
      became.set(decision, now);
      if (now.act !== 'keep' && now.act !== 'leave') done(now);
    } catch (error) {
      failures.push(error);
      if (error instanceof BuildError && error.forAll) break;
    }
  if (failures.length > 0) throw summary(failures);
  return decisions.map((decision) => became.get(decision) ?? decision);
}

async function carryOne(cloud: Cloud, dir: string, decision: Decision): Promise<Decision> {
  if (decision.act === 'sweep') {
    await cloud.removeOrphan(decision.orphan);
    fail(cloud.name, dir, decision.orphan.run);
  }
  if (decision.act !== 'remove' && decision.act !== 'deprecate') return decision;
  const { image, region } = decision;
  // Whoever was asked may have taken their time, and others may have promoted or launched it.
  const now = (await cloud.list(region)).find(({ imageId }) => imageId === image.imageId);
  const users = [...(now?.channels ?? []), ...(now?.usedBy ?? [])];
  if (users.length > 0) return { region, image, act: 'keep', why: `since then: ${users.join(', ')}` };
  if (!now) {
    // Or it is there, and isn't ours any more: somebody has taken our labels off. What was half removed is an orphan.
    forget(cloud.name, dir, image);
    return { region, image, act: 'keep', why: 'since then: it is no more among our images' };
  }
  if (decision.act === 'deprecate') await cloud.deprecate(image);
  else {
    await cloud.remove(image);
    forget(cloud.name, dir, image);
  }
  return decision;
}

/** All in one, with the hint and exit code of the last, by which it may have ended. @throws what is a bug of ours. */
function summary(failures: unknown[]): BuildError {
  const bug = failures.find((failure) => !(failure instanceof BuildError));
  const last = failures.at(-1);
  if (bug || !(last instanceof BuildError) || failures.length === 1) throw bug ?? last;
  const words = failures.map((failure) => (failure as BuildError).message);
  const message = `${failures.length} things failed: ${words.join('; ')}`;
  return new BuildError(last.step, message, last.hint, { exitCode: last.exitCode });
}

function forget(cloud: string, dir: string, { image, imageId, run }: CloudImage): void {
  const journal = Journal.read(dir, image);
  if (!journal) return;
  // By the run too: one that was killed before it heard the ID. Whatever region it names: Hetzner's snapshots are in all.
  for (const entry of journal.publications)
    if (entry.cloud === cloud && (entry.image_id === imageId || entry.run === run))
      journal.update(entry, { state: 'removed' });
  if (!journal.publications.some(({ state }) => state === 'recorded')) dropBlocks(dir, image);
}

/** What an interrupted run would go on with is gone: it begins anew. */
function fail(cloud: string, dir: string, run: string): void {
  for (const journal of Journal.all(dir))
    for (const entry of journal.publications)
      if (entry.cloud === cloud && entry.run === run && (entry.state === 'started' || entry.state === 'uploaded'))
        journal.update(entry, { state: 'failed' });
}

export function renderDecision(decision: Decision): string {
  const what =
    'image' in decision
      ? `${decision.image.image} (${decision.image.imageId})`
      : `${decision.orphan.kind} ${decision.orphan.id}`;
  return `${decision.act.padEnd(9)} ${decision.region}  ${what}: ${decision.why}`;
}
