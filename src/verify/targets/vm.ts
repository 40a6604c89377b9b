import { AGENT, PATHS } from '../../contract/box.ts';
import type { Peer as LabPeer } from '../lab/namespaces.ts';
import type { Vm } from '../lab/vm.ts';
import type { ExecOptions, ExecResult, Peer, Target } from './target.ts';

const DEFAULT_TIMEOUT_MS = 120_000;

/** A machine of the lab, seen as a target for claims. */
export class VmTarget implements Target {
  readonly kind = 'vm';
  readonly vm: Vm;

  constructor(vm: Vm) {
    this.vm = vm;
  }

  get addresses() {
    return this.vm.addresses;
  }

  exec(command: string, options: ExecOptions = {}): Promise<ExecResult> {
    return this.vm.exec(asWhom(command, options), { timeoutMs: options.timeout ?? DEFAULT_TIMEOUT_MS });
  }

  put(path: string, content: string | Buffer, mode: string): Promise<void> {
    return this.vm.put(path, content, Number.parseInt(mode, 8));
  }

  async console(): Promise<string> {
    return this.vm.console();
  }

  close(): Promise<void> {
    return this.vm.close();
  }
}

/** Another host of the lab, seen as an attacker. */
export class VmPeer implements Peer {
  readonly #peer: LabPeer;

  constructor(peer: LabPeer) {
    this.#peer = peer;
  }

  get addresses() {
    return { v4: this.#peer.v4, v6: this.#peer.v6 };
  }

  exec(command: string, options: ExecOptions = {}): Promise<ExecResult> {
    const line = `${exports(options.env)}${command}`;
    return this.#peer.exec('sh', ['-c', line], { timeoutMs: options.timeout ?? DEFAULT_TIMEOUT_MS });
  }

  put(path: string, content: string | Buffer, mode: string): Promise<void> {
    return this.#peer.put(path, content, mode);
  }

  async close(): Promise<void> {}
}

/** The agent's uid, with what its service leaves it: no privileges to gain, no capability to use. */
export const AS_AGENT = `setpriv --reuid=${AGENT.uid} --regid=${AGENT.gid} --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all`;

function asWhom(command: string, options: ExecOptions): string {
  const line = `${exports(options.env)}${command}`;
  return options.as === 'agent' ? `HOME=${PATHS.home} exec ${AS_AGENT} sh -c ${quote(line)}` : line;
}

function exports(env: Record<string, string> = {}): string {
  return Object.entries(env)
    .map(([name, value]) => `export ${name}=${quote(value)}; `)
    .join('');
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
