import prettyBytes from 'pretty-bytes';

/** What an upload has sent, for a progress line: bytes, rate, time left. */
export class Transfer {
  #expected = 0;
  #sent = 0;
  #startedAt: number | undefined;
  readonly #now: () => number;

  /** @param now milliseconds of a clock that never goes back. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  get bytes(): number {
    return this.#sent;
  }

  expect(bytes: number): void {
    this.#expected = bytes;
  }

  add(bytes: number): void {
    this.#startedAt ??= this.#now();
    this.#sent += bytes;
  }

  /** Such as `310 MB of 1.29 GB, 42 MB/s, 23 s left`. */
  toString(): string {
    const elapsed = this.#startedAt === undefined ? 0 : (this.#now() - this.#startedAt) / 1000;
    const amount = `${prettyBytes(this.#sent)} of ${prettyBytes(this.#expected)}`;
    // Less than a second says nothing about a rate.
    if (elapsed < 1) return amount;
    const rate = this.#sent / elapsed;
    const left = Math.max(0, this.#expected - this.#sent) / rate;
    return `${amount}, ${prettyBytes(rate)}/s, ${left < 90 ? `${Math.ceil(left)} s` : `${Math.ceil(left / 60)} min`} left`;
  }
}
