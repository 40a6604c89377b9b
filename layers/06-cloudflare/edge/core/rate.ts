/** So many tries of one address within a window of time. Counted where the process is: each of Cloudflare's sites counts by itself. */

import { networkOf } from '../../../../src/contract/addresses.ts';

/** Addresses that are remembered at once: beyond, strangers are refused till the window ends, so that nobody fills the memory. */
const REMEMBERED = 4096;

/** A site has as many tries as so many networks. */
const SITE = 8;

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
    const network = networkOf(address);
    const site = siteOf(network);
    if (site && !this.#count(site, SITE * this.#limit.tries)) return false;
    return this.#count(network, this.#limit.tries);
  }

  #count(key: string, most: number): boolean {
    const tries = (this.#tries.get(key) ?? 0) + 1;
    if (tries > most || (tries === 1 && this.#tries.size >= REMEMBERED)) return false;
    this.#tries.set(key, tries);
    return true;
  }
}

/** The /48 of an IPv6 network: a site may have as much (https://www.rfc-editor.org/rfc/rfc6177), and 65,536 networks in it. */
function siteOf(network: string): string | undefined {
  if (!network.endsWith('/64')) return undefined;
  const [head = ''] = network.split('::');
  const groups = head.split(':');
  return `${[...groups, '0', '0', '0'].slice(0, 3).join(':')}::/48`;
}
