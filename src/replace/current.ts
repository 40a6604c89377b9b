import type { InstanceRecord } from '../launch/records.ts';
import { inputError } from '../process/errors.ts';
import { readReplacement } from './journal.ts';
import { successorOf } from './replace.ts';

/**
 * Whether an instance is one that all are replaced with: launched by this tool, nobody's predecessor, not gone back from. A
 * replacement that was cut is of its old instance, whoever was launched for it already.
 */
export function isCurrent({ instance_id: id, cloud, retired, replaces }: InstanceRecord): boolean {
  if (cloud === 'other' || retired) return false;
  if (readReplacement(id)) return true;
  return !successorOf(id) && !(replaces && readReplacement(replaces));
}

/** Replacements that were cut, in words. */
export function cutReplacements(records: InstanceRecord[]): string[] {
  return records.flatMap(({ instance_id: id }) => {
    const noted = readReplacement(id);
    if (!noted) return [];
    const how = noted.phase === 'returning' ? `${successorOf(id)?.instance_id} --rollback` : id;
    return [`${id}: its replacement isn't through; if nobody is at it: npm run replace -- ${how}`];
  });
}

/** @throws BuildError (input) where an instance is part of a replacement that isn't through: it may have the only whole home. */
export function refuseAmidst({ instance_id: id, replaces }: InstanceRecord): void {
  const of = [id, replaces].find((one) => one && readReplacement(one));
  if (of)
    throw inputError(
      'replace',
      `${id} is part of a replacement of ${of} that isn't through`,
      `npm run replace -- ${of}`,
    );
}
