import { once } from 'node:events';
import { createWriteStream, existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BuildError } from '../../process/errors.ts';
import { type RunResult, start } from '../../process/run.ts';
import { Console } from './console.ts';
import type { ExecOptions, Peer } from './namespaces.ts';
import { CONSOLE_FILE, type Hardware, qemuArgs, SOCKETS } from './qemu-args.ts';
import { connectWhenThere, Qmp } from './qmp.ts';
import { RootChannel } from './root-channel.ts';

/** A guest under emulation takes up to half a minute to stop all its services. */
const SHUTDOWN_LIMIT_MS = 120_000;
/** After a restore the guest's clock shows the saved moment; certificates and timers mind more than this. */
const CLOCK_DRIFT_S = 5;

interface Running {
  child: ReturnType<typeof start>;
  qmp: Qmp;
  channel: RootChannel;
}

/** A virtual machine of the lab, on an overlay of a disk that itself is never opened for writing. */
export class Vm {
  readonly name: string;
  readonly addresses: { v4: string; v6: string };
  readonly can = { reboot: true, powerCut: true, save: true } as const;
  readonly #console: Console;
  readonly #hardware: Hardware;
  readonly #host: Peer;
  /** Saved moments, and whether the root channel was up in them. */
  readonly #moments = new Map<string, boolean>();
  #running: Running | undefined;

  /** @param host the peer that owns the bridge and the tap. */
  constructor(name: string, addresses: { v4: string; v6: string }, hardware: Hardware, host: Peer) {
    this.name = name;
    this.addresses = addresses;
    this.#hardware = hardware;
    this.#host = host;
    this.#console = new Console(join(hardware.work, CONSOLE_FILE));
  }

  get on(): boolean {
    return this.#running !== undefined && !this.#running.qmp.closed;
  }

  /** The disk of this machine, for looking at it while the machine is off. */
  get overlay(): string {
    return this.#hardware.overlay;
  }

  get consoleFile(): string {
    return this.#console.file;
  }

  /** Switches the machine on; returns when QEMU runs, long before the guest is ready. */
  async powerOn(): Promise<void> {
    if (this.on) return;
    const { work } = this.#hardware;
    for (const socket of Object.values(SOCKETS)) rmSync(join(work, socket), { force: true });
    this.#console.mark();
    const [file = '', ...args] = this.#host.holder.enter(['qemu-system-x86_64', ...qemuArgs(this.#hardware)]);
    const log = join(work, 'qemu.log');
    const child = start(file, args, { stdin: 'ignore', stdout: 'pipe', stderr: 'pipe', buffer: false });
    const sink = createWriteStream(log, { flags: 'a' });
    child.stdout?.pipe(sink, { end: false });
    child.stderr?.pipe(sink, { end: false });
    let alive = true;
    child.then(() => {
      alive = false;
    });
    try {
      const qmp = await Qmp.open(join(work, SOCKETS.qmp), () => alive);
      const channel = new RootChannel(qmp, await connectWhenThere(join(work, SOCKETS.root), () => alive));
      qmp.on('RESET', () => this.#console.mark());
      this.#running = { child, qmp, channel };
    } catch (cause) {
      child.kill('SIGKILL');
      const tail = existsSync(log) ? readFileSync(log, 'utf8').trimEnd() : '';
      throw new BuildError(`vm ${this.name}`, 'QEMU did not start', 'npm run doctor', { log, tail, cause });
    }
  }

  /** All that the machine said on its serial console. */
  console(): string {
    return this.#console.text();
  }

  /** Waits for words since the last start or reset. @throws BuildError with the console's end. */
  async waitForConsole(wanted: RegExp, timeoutMs: number): Promise<RegExpExecArray> {
    return this.#console.wait(wanted, timeoutMs, () => this.on);
  }

  /** Runs a shell command as root, from the hypervisor's side (root-agent.ts says how, and its limits). */
  async exec(command: string, options: ExecOptions = {}): Promise<RunResult> {
    return this.#live().channel.exec(command, options);
  }

  /** Writes a file in the guest. */
  async put(path: string, content: string | Uint8Array, mode = 0o644): Promise<void> {
    const quoted = `'${path.replaceAll("'", "'\\''")}'`;
    const script = `mkdir -p "$(dirname ${quoted})" && cat >${quoted} && chmod ${mode.toString(8)} ${quoted}`;
    const { exitCode, stderr } = await this.exec(script, { input: content });
    if (exitCode !== 0)
      throw new BuildError(
        `vm ${this.name}`,
        `can't write ${path}: ${stderr.trim()}`,
        'a read-only or full file system?',
      );
  }

  /** The plug is pulled: what the guest hadn't written is lost. */
  async powerCut(): Promise<void> {
    this.#running?.child.kill('SIGKILL');
    await this.#off();
  }

  /** Presses the power button and waits until the guest has shut down. @throws BuildError when it doesn't in 2 minutes. */
  async shutdown(): Promise<void> {
    const { qmp, child } = this.#live();
    await qmp.execute('system_powerdown');
    const ended = await Promise.race([child.then(() => true), sleep(SHUTDOWN_LIMIT_MS, false, { ref: false })]);
    if (!ended)
      throw new BuildError(`vm ${this.name}`, 'did not shut down', 'read the console', { log: this.#console.file });
    await this.#off();
  }

  /**
   * Reboots and returns at the moment of the reset.
   * @param how `guest`: orderly, by the guest's own init; `reset`: the reset button.
   */
  async reboot(how: 'guest' | 'reset' = 'guest'): Promise<void> {
    const { qmp } = this.#live();
    const reset = once(qmp, 'RESET', { signal: AbortSignal.timeout(SHUTDOWN_LIMIT_MS) });
    if (how === 'reset') await qmp.execute('system_reset');
    // The reset may come before the answer does, and then there is none.
    else this.exec('systemctl --no-block reboot').catch(() => {});
    await reset;
  }

  /** Stops the guest's time; for it none passes until resume(). */
  async pause(): Promise<void> {
    await this.#live().qmp.execute('stop');
  }

  /** Lets a paused guest go on. Its clock stays behind by the pause: a jump would look like a stall to what runs. */
  async resume(): Promise<void> {
    await this.#live().qmp.execute('cont');
  }

  /** Keeps this moment, memory and disk, inside the overlay. A few tenths of a second. */
  async save(moment: string): Promise<void> {
    const { qmp, channel } = this.#live();
    await qmp.human(`savevm ${moment}`);
    this.#moments.set(moment, channel.up);
  }

  /** Goes back to a saved moment, also after a power cut, and sets the guest's clock where the root channel is up. */
  async restore(moment: string): Promise<void> {
    const up = this.#moments.get(moment);
    if (up === undefined)
      throw new BuildError(
        `vm ${this.name}`,
        `no moment '${moment}' was saved`,
        `saved: ${[...this.#moments.keys()].join(', ')}`,
      );
    await this.powerOn();
    const { qmp, channel } = this.#live();
    channel.lost('another moment was restored');
    if (up) await channel.plug();
    await qmp.human(`loadvm ${moment}`);
    await qmp.execute('cont');
    channel.up = up;
    if (up) await this.#setClock();
  }

  async #setClock(): Promise<void> {
    const now = Math.floor(Date.now() / 1000);
    await this.exec(`drift=$(( ${now} - $(date +%s) )); [ "$drift" -lt ${CLOCK_DRIFT_S} ] || date -s @${now}`);
  }

  /** Switches off without ceremony; the lab calls it. */
  async close(): Promise<void> {
    await this.powerCut();
  }

  /** Waits until QEMU has let go of the disk: its control socket closes when the process is gone. */
  async #off(): Promise<void> {
    const running = this.#running;
    this.#running = undefined;
    if (!running) return;
    await running.child;
    if (!running.qmp.closed) await once(running.qmp, 'close', { signal: AbortSignal.timeout(10_000) });
    running.qmp.close();
  }

  #live(): Running {
    if (!this.#running || !this.on) throw new BuildError(`vm ${this.name}`, 'the machine is off', 'powerOn() first');
    return this.#running;
  }
}
