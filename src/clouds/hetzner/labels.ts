import { LABELS, OWNER } from '../cloud.ts';

/** Label selectors: https://docs.hetzner.cloud/reference/cloud#label-selector */
export const OURS = `${LABELS.owner}==${OWNER}`;

/** All that a launch made. */
export const LAUNCHED = `${OURS},${LABELS.launched}==yes`;

/** What publishing makes for a while. A launch that is on its way is no orphan of it. */
export const PASSING = `${OURS},${LABELS.temporary}==yes,!${LABELS.launched}`;

/** The set with a change; undefined: without that label. @returns undefined when nothing changes. */
export function changed(
  labels: Record<string, string>,
  change: Record<string, string | undefined>,
): Record<string, string> | undefined {
  if (Object.entries(change).every(([key, value]) => labels[key] === value)) return undefined;
  return Object.fromEntries(
    Object.entries({ ...labels, ...change }).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}
