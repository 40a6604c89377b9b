/** So many tries of one address within a window of time. Counted where the process is: each of Cloudflare's sites counts by itself. */

import { networkOf } from '../../../../src/contract/addresses.ts';

/** Addresses that are remembered at once: beyond, strangers are refused till the window ends, so that nobody fills the memory. */
const REMEMBERED = 4096;

export class Rate {
  readonly #limit: { tries: number; seconds: number };
  readonly #tries = new Map<string, number>();
  #until = 0;

  constructor(limit: { tries: number; seconds: number }) {
    this.#limit = limit;
  }

  /** @param now seconds. @returns whether this try of the address is one of those that it has. */
  take(address: string, now: number): boolean {
    if (now >= this.#until) {
      this.#tries.clear();
      this.#until = now + this.#limit.seconds;
    }
    const key = networkOf(address);
    const tries = (this.#tries.get(key) ?? 0) + 1;
    if (tries > this.#limit.tries || (tries === 1 && this.#tries.size >= REMEMBERED)) return false;
    this.#tries.set(key, tries);
    return true;
  }
}
