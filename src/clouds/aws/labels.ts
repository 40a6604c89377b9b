import { createHash } from 'node:crypto';
import type { Filter, Tag } from '@aws-sdk/client-ec2';
import { LABELS, OWNER } from '../cloud.ts';

/** Labels as AWS wants tags. */
export function tagsOf(labels: Record<string, string>): { Key: string; Value: string }[] {
  return Object.entries(labels).map(([Key, Value]) => ({ Key, Value }));
}

/** Tags of AWS as labels. */
export function labelsFrom(tags: readonly Tag[] | undefined): Record<string, string> {
  return Object.fromEntries((tags ?? []).map(({ Key, Value }) => [Key ?? '', Value ?? '']));
}

/** Everything of this project. */
export const OURS: Filter = { Name: `tag:${LABELS.owner}`, Values: [OWNER] };

/** What is only there for a while. */
export const TEMPORARY: Filter = { Name: `tag:${LABELS.temporary}`, Values: ['yes'] };

/** What came of a launch. */
export const LAUNCHED: Filter = { Name: `tag:${LABELS.launched}`, Values: ['yes'] };

/** What came of one job. */
export function ofRun(run: string): Filter {
  return { Name: `tag:${LABELS.run}`, Values: [run] };
}

/**
 * A client token: the same for the same parts, so that a call which is repeated after its answer was lost makes nothing
 * twice. 32 hex digits: EC2 takes at most 64 characters.
 */
export function tokenOf(...parts: (string | number)[]): string {
  return createHash('sha256').update(parts.join('\n')).digest('hex').slice(0, 32);
}
