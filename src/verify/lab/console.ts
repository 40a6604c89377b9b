import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { stripVTControlCharacters } from 'node:util';
import { BuildError } from '../../process/errors.ts';

/** What ends every wait: the kernel has given up. */
const PANIC = /Kernel panic - not syncing[^\n]*/;
const TAIL_LINES = 15;

/** A machine's serial console: what it said, kept in a file. */
export class Console {
  readonly file: string;
  #start = 0;

  constructor(file: string) {
    this.file = file;
  }

  /** All that was said since the machine was made, without terminal control codes. */
  text(): string {
    return clean(this.#read());
  }

  /** What was said since the machine last started or was reset. */
  sinceStart(): string {
    return clean(this.#read().subarray(this.#start));
  }

  /** The machine starts now: earlier words no longer count for `wait`. */
  mark(): void {
    this.#start = this.#read().length;
  }

  /**
   * Waits until the machine has said something, since its last start.
   * @param alive false ends the wait.
   * @returns the match.
   * @throws BuildError with the last lines when the time is over, the kernel panics or QEMU ends.
   */
  async wait(wanted: RegExp, timeoutMs: number, alive: () => boolean): Promise<RegExpExecArray> {
    const pattern = new RegExp(wanted.source, wanted.flags.replaceAll(/[gy]/g, ''));
    return this.watch(String(wanted), (text) => pattern.exec(text) ?? undefined, timeoutMs, alive);
  }

  /**
   * Waits until `inspect` makes something of what the machine has said since its last start; what it throws ends the
   * wait. The rest is as with `wait`.
   * @param what is waited for, for the error.
   */
  async watch<T>(
    what: string,
    inspect: (text: string) => T | undefined,
    timeoutMs: number,
    alive: () => boolean,
  ): Promise<T> {
    const until = Date.now() + timeoutMs;
    for (;;) {
      const ended = !alive();
      const text = this.sinceStart();
      const found = inspect(text);
      if (found !== undefined) return found;
      const panic = PANIC.exec(text);
      const over = Date.now() > until;
      if (panic || ended || over) {
        const why = panic?.[0] ?? (ended ? 'the machine is off' : `not seen in ${timeoutMs / 1000} s`);
        const tail = text.trimEnd().split('\n').slice(-TAIL_LINES).join('\n');
        throw new BuildError('console', `waited for ${what}: ${why}`, 'read the console', { log: this.file, tail });
      }
      await sleep(200);
    }
  }

  #read(): Buffer {
    return existsSync(this.file) ? readFileSync(this.file) : Buffer.alloc(0);
  }
}

function clean(text: Buffer): string {
  return stripVTControlCharacters(text.toString()).replaceAll('\r', '');
}
