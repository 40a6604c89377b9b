const UNIT_S = { s: 1, m: 60, h: 3600, d: 24 * 3600 } as const;

/** @returns the seconds of a time as 90s, 10m, 2h or 30d; NaN for anything else. */
export function secondsOf(text: string): number {
  const [, number, unit] = /^(\d{1,5})([smhd])$/.exec(text) ?? [];
  return Number(number) * (unit ? UNIT_S[unit as keyof typeof UNIT_S] : Number.NaN);
}
