export const DAY_MS = 24 * 3600_000;

/** What belongs to a run that isn't in our journals may be somebody else's, and going on: none takes a day. */
export function isYoung({ created }: { created?: string | undefined }, now = Date.now()): boolean {
  const age = now - Date.parse(created ?? '');
  return Number.isNaN(age) || age < DAY_MS;
}
