import { InvalidArgumentError } from 'commander';
import { secondsOf } from '../manifest/duration.ts';

/**
 * Reads an option that is a time, as 90s, 10m, 2h or 30d.
 * @param mostSeconds that are taken.
 * @returns a parser for commander, which gives seconds.
 */
export function duration(mostSeconds: number): (text: string) => number {
  return (text) => {
    const seconds = secondsOf(text);
    if (!(seconds <= mostSeconds))
      throw new InvalidArgumentError(`a time of at most ${mostSeconds / 3600} hours, as 90s, 10m, 2h or 30d`);
    return seconds;
  };
}
