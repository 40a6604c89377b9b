import type { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { BuildError } from '../../process/errors.ts';
import type { RunResult } from '../../process/run.ts';
import type { ExecOptions } from './namespaces.ts';
import type { Qmp } from './qmp.ts';
import { PORT } from './root-agent.ts';

/** Under emulation udev and systemd need one to three seconds from the plug to the agent's greeting. */
const GREETING_MS = 8_000;
/** Far more than QEMU takes to free a removed port. */
const RELEASE_MS = 5_000;
const DEFAULT_LIMIT_MS = 60_000;
/** What the answer may take beyond the command's own limit: the channel is slow for large outputs. */
const SLACK_MS = 30_000;

interface Waiting {
  resolve: (result: RunResult) => void;
  reject: (error: Error) => void;
}

/** The host's half: asks the agent in the guest (root-agent.ts) to run commands as root. */
export class RootChannel {
  readonly #qmp: Qmp;
  readonly #socket: Socket;
  readonly #waiting = new Map<string, Waiting>();
  #plugged = false;
  #greeted: (() => void) | undefined;
  #queue: Promise<unknown> = Promise.resolve();
  #next = 1;
  /** True while the agent has greeted and the machine hasn't been reset since. */
  up = false;

  /** @param socket the other end of the port's character device `root`. */
  constructor(qmp: Qmp, socket: Socket) {
    this.#qmp = qmp;
    this.#socket = socket;
    socket.on('error', () => {});
    createInterface({ input: socket }).on('line', (line) => this.#receive(line));
    qmp.on('RESET', () => this.lost('the machine was reset'));
    qmp.on('close', () => this.lost('QEMU has ended'));
  }

  /** Forgets the agent; what was asked of it fails. */
  lost(reason: string): void {
    this.up = false;
    for (const { reject } of this.#waiting.values())
      reject(new BuildError('vm', `no answer: ${reason}`, 'read the console'));
    this.#waiting.clear();
  }

  /** Puts the port into the machine, as it must be before a saved moment with it is restored. */
  async plug(): Promise<void> {
    if (this.#plugged) return;
    const port = { driver: 'virtserialport', bus: 'ports.0', nr: 1, chardev: 'root', name: PORT, id: 'root-port' };
    const until = Date.now() + RELEASE_MS;
    while (!this.#plugged) {
      try {
        await this.#qmp.execute('device_add', port);
        this.#plugged = true;
      } catch (error) {
        // QEMU frees a removed port a moment after it has answered, and until then its character device is in use.
        if (this.#qmp.closed || Date.now() > until) throw error;
        await sleep(100);
      }
    }
  }

  async #unplug(): Promise<void> {
    if (this.#plugged) await this.#qmp.execute('device_del', { id: 'root-port' });
    this.#plugged = false;
  }

  /**
   * Waits for the agent. The guest acts on the moment of plugging in, so the port is pulled and plugged again until
   * the guest is far enough to notice.
   */
  async connect(timeoutMs: number): Promise<void> {
    const until = Date.now() + timeoutMs;
    while (!this.up) {
      if (Date.now() > until)
        throw new BuildError('vm', 'no root channel into the guest', 'read the console; the image needs systemd ≥ 252');
      const greeting = new Promise<void>((resolve) => {
        this.#greeted = resolve;
      });
      await this.#unplug();
      await this.plug();
      await Promise.race([greeting, sleep(GREETING_MS)]);
    }
  }

  /** Runs a shell command as root; one at a time, in order. Exit code 124: out of time. */
  async exec(command: string, options: ExecOptions = {}): Promise<RunResult> {
    const result = this.#queue.then(() => this.#exec(command, options));
    this.#queue = result.catch(() => {});
    return result;
  }

  async #exec(command: string, { input, timeoutMs = DEFAULT_LIMIT_MS }: ExecOptions): Promise<RunResult> {
    await this.connect(120_000);
    const id = String(this.#next++);
    const answer = new Promise<RunResult>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    const words = [id, Math.ceil(timeoutMs / 1000), encode(command), input === undefined ? '-' : encode(input) || '-'];
    this.#socket.write(`${words.join(' ')}\n`);
    const timer = setTimeout(() => this.lost('the agent is silent'), timeoutMs + SLACK_MS);
    return answer.finally(() => clearTimeout(timer));
  }

  #receive(line: string): void {
    const [id = '', code, out = '', err = ''] = line.split(' ');
    if (id === 'ready') {
      if (this.#waiting.size > 0) this.lost('the agent started anew');
      this.up = true;
      this.#greeted?.();
      return;
    }
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    waiting?.resolve({ exitCode: Number(code), stdout: decode(out), stderr: decode(err) });
  }
}

const encode = (data: string | Uint8Array): string => Buffer.from(data).toString('base64');
const decode = (text: string): string => Buffer.from(text, 'base64').toString();
