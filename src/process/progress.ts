import ora, { type Ora } from 'ora';

/** What a finished step cost, for the manifest and the summary. */
export interface StepTime {
  name: string;
  /** Seconds, rounded to a tenth. */
  seconds: number;
}

/** Under emulation a silent minute looks like a hang, so plain output gets a heartbeat (docs/architecture.md, Output). */
const HEARTBEAT_MS = 10_000;

export interface StepHandle {
  /** Replaces what the step says it is doing (shown live, and by the heartbeat). */
  detail(text: string): void;
}

/**
 * Shows one line per step on stderr with its time: a spinner on a terminal, plain lines elsewhere.
 * Standard output is left to `--json`.
 */
export class Progress {
  readonly times: StepTime[] = [];
  readonly #live = Boolean(process.stderr.isTTY) && !process.env.CI;
  readonly #running = new Map<string, Ora>();

  /** Runs `work` as a named step; a failure is marked and rethrown. */
  async step<T>(name: string, work: (handle: StepHandle) => Promise<T>): Promise<T> {
    const startedAt = performance.now();
    const seconds = () => Math.round((performance.now() - startedAt) / 100) / 10;
    let detail = '';
    // ora can draw one spinner; a step that runs beside another one reports plainly.
    const spinner =
      this.#live && this.#running.size === 0
        ? ora({ text: name, stream: process.stderr, discardStdin: false }).start()
        : undefined;
    if (spinner) this.#running.set(name, spinner);
    else this.say(`▸ ${name}`);
    const timer = setInterval(
      () => {
        const text = `${name} (${Math.round(seconds())} s)${detail ? `: ${detail}` : ''}`;
        if (spinner) spinner.text = text.slice(0, (process.stderr.columns ?? 80) - 3);
        else this.say(`  … ${text}`);
      },
      spinner ? 500 : HEARTBEAT_MS,
    );
    try {
      const result = await work({ detail: (text) => (detail = text) });
      this.times.push({ name, seconds: seconds() });
      this.#end(name, spinner, `✔ ${name}  ${seconds().toFixed(1)} s`);
      return result;
    } catch (error) {
      this.#end(name, spinner, `✖ ${name}  ${seconds().toFixed(1)} s`);
      throw error;
    } finally {
      clearInterval(timer);
    }
  }

  /** A plain line for a person, on stderr. */
  say(line: string): void {
    process.stderr.write(`${line}\n`);
  }

  #end(name: string, spinner: Ora | undefined, line: string): void {
    this.#running.delete(name);
    if (spinner) spinner.stopAndPersist({ symbol: '', text: line.trimStart() });
    else this.say(line);
  }
}
