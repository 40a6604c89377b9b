import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { BuildError } from '../../process/errors.ts';
import { type RunResult, run, start } from '../../process/run.ts';

/** Any end of a program is an answer: 124 is timeout(1)'s, -1 an end by a signal. */
const ANY_EXIT = [-1, ...Array(256).keys()];
/** What one program in a peer may take when nothing else is said. */
const DEFAULT_LIMIT_MS = 60_000;
/** A holder ends at once when its input closes; a stuck one is killed after this. */
const GOODBYE_MS = 3000;
/** Says its process id as the host counts (the host's /proc is still mounted), then lives as long as its standard input. */
const HOLD = 'read -r pid rest </proc/self/stat; echo "$pid"; exec cat >/dev/null';
/** Where peers keep the files that tests give them: in memory, seen by nobody outside, gone with the lab. */
const PRIVATE = '/var/tmp';

export interface ExecOptions {
  /** Goes to standard input. */
  input?: string | Uint8Array;
  /** Milliseconds; the program is ended then and the exit code is 124. */
  timeoutMs?: number;
}

type Child = ReturnType<typeof start>;

/** A network namespace that a living process holds open. */
export class Holder {
  readonly #child: Child;
  /** Process id of the holder, as the host counts. */
  readonly pid: number;

  private constructor(child: Child, pid: number) {
    this.#child = child;
    this.pid = pid;
  }

  /**
   * A new user, network, mount and PID namespace. All programs started in it by `enter` are ended by the kernel when the holder
   * ends, and the holder ends when our process does, however that happens: its standard input closes.
   */
  static async root(): Promise<Holder> {
    return Holder.#hold('unshare', [
      '-Urn',
      '--pid',
      '--fork',
      '--mount',
      '--kill-child=KILL',
      'sh',
      '-c',
      `mount -t tmpfs -o mode=1777 lab ${PRIVATE} && ${HOLD}`,
    ]);
  }

  /** One more network namespace under the same roof: the other namespaces are shared. */
  async sibling(): Promise<Holder> {
    const [file = '', ...args] = this.enter(['unshare', '--net', 'sh', '-c', HOLD]);
    return Holder.#hold(file, args);
  }

  static async #hold(file: string, args: string[]): Promise<Holder> {
    const child = start(file, args, { stdin: 'pipe', stdout: 'pipe', stderr: 'pipe', buffer: false });
    const hello = child.stdout
      ? await Promise.race([once(child.stdout, 'data'), child.then(() => undefined)])
      : undefined;
    const pid = Number(String(hello?.[0] ?? '').trim());
    if (!pid) throw new BuildError('lab', 'no network namespace could be made', 'npm run doctor');
    return new Holder(child, pid);
  }

  /**
   * The command line that runs a program in this namespace.
   * @param pidNamespace false keeps the host's process ids, which `ip link … netns <pid>` needs.
   */
  enter(words: readonly string[], pidNamespace = true): string[] {
    const namespaces = ['--user', '--net', '--mount', ...(pidNamespace ? ['--pid'] : []), '--preserve-credentials'];
    // nsenter forks into a PID namespace: without the second pdeathsig its end would leave the program behind.
    return ['nsenter', '--target', String(this.pid), ...namespaces, 'setpriv', '--pdeathsig', 'KILL', ...words];
  }

  /** Lets the holder end; the kernel then ends all that still runs in its PID namespace, and this waits for it. */
  async close(): Promise<void> {
    this.#child.stdin?.end();
    const ended = await Promise.race([this.#child.then(() => true), sleep(GOODBYE_MS, false, { ref: false })]);
    if (ended) return;
    this.#child.kill('SIGKILL');
    await this.#child;
  }
}

/** A host of the test network: programs of this machine, in a network of their own. */
export class Peer {
  readonly name: string;
  readonly v4: string;
  readonly v6: string;
  readonly holder: Holder;

  constructor(name: string, holder: Holder, v4: string, v6: string) {
    this.name = name;
    this.holder = holder;
    this.v4 = v4;
    this.v6 = v6;
  }

  /** Runs a program to its end; never throws for its exit code (124: out of time). */
  async exec(file: string, args: readonly string[] = [], options: ExecOptions = {}): Promise<RunResult> {
    const limit = String((options.timeoutMs ?? DEFAULT_LIMIT_MS) / 1000);
    const [entered = '', ...words] = this.holder.enter(['timeout', '-k', '2', limit, file, ...args]);
    const input = options.input === undefined ? {} : { input: options.input };
    return run(entered, words, { step: `peer ${this.name}`, ok: ANY_EXIT, ...input });
  }

  /** Writes a file that programs of the lab's peers see; below /var/tmp it stays in the lab. */
  async put(path: string, content: string | Uint8Array, mode: string): Promise<void> {
    const [file = '', ...words] = this.holder.enter(['sh', '-c', 'cat >"$1" && chmod "$2" "$1"', 'sh', path, mode]);
    await run(file, words, { step: `peer ${this.name}`, input: content });
  }

  /** Starts a program that keeps running, such as a listener; it ends with the lab at the latest. */
  start(file: string, args: readonly string[] = []): Child {
    const [entered = '', ...words] = this.holder.enter([file, ...args]);
    return start(entered, words, { stdin: 'ignore', stdout: 'pipe', stderr: 'pipe' });
  }

  /** Runs lines of `ip -batch` here. @throws BuildError when one fails. */
  async ip(lines: readonly string[]): Promise<void> {
    const [file = '', ...words] = this.holder.enter(['ip', '-batch', '-'], false);
    await run(file, words, { step: `network of ${this.name}`, input: `${lines.join('\n')}\n` });
  }
}
