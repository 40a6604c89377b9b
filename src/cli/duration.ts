import { InvalidArgumentError } from 'commander';

const UNIT_S = { s: 1, m: 60, h: 3600, d: 24 * 3600 } as const;

/**
 * Reads an option that is a time, as 90s, 10m, 2h or 30d.
 * @param mostSeconds that are taken.
 * @returns a parser for commander, which gives seconds.
 */
export function duration(mostSeconds: number): (text: string) => number {
  return (text) => {
    const [, number, unit] = /^(\d{1,5})([smhd])$/.exec(text) ?? [];
    const seconds = Number(number) * (unit ? UNIT_S[unit as keyof typeof UNIT_S] : Number.NaN);
    if (!(seconds <= mostSeconds))
      throw new InvalidArgumentError(`a time of at most ${mostSeconds / 3600} hours, as 90s, 10m, 2h or 30d`);
    return seconds;
  };
}
