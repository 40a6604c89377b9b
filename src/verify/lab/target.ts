import { AGENT, PATHS } from '../../contract/box.ts';
import type { ExecOptions, ExecResult, Peer as ClaimPeer, Target } from '../targets/target.ts';
import type { Peer } from './namespaces.ts';
import type { Vm } from './vm.ts';

/** The same limit as in a container; a command under emulation takes several times as long, but seconds. */
const DEFAULT_TIMEOUT_MS = 120_000;

/** The agent as its own service would run: its uid, no other group, no way to more rights. */
const AS_AGENT = `setpriv --reuid=${AGENT.uid} --regid=${AGENT.gid} --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all env HOME=${PATHS.home}`;

/** A machine of the lab as claims see it. Closing it switches it off; its lab removes it. */
export function vmTarget(vm: Vm): Target {
  return {
    kind: 'vm',
    addresses: vm.addresses,
    exec: (command, options = {}) => {
      const shell = `${assignments(options.env)} sh -c ${quote(command)}`;
      const line = options.as === 'agent' ? `cd /; ${AS_AGENT} ${shell}` : `env ${shell}`;
      return vm.exec(line, { timeoutMs: options.timeout ?? DEFAULT_TIMEOUT_MS });
    },
    put: (path, content, mode) => vm.put(path, content, Number.parseInt(mode, 8)),
    console: async () => vm.console(),
    close: () => vm.close(),
  };
}

/** A host of the lab as claims see it. It lives as long as the lab. */
export function labPeer(peer: Peer): ClaimPeer {
  return {
    address: peer.v4,
    exec: (command: string, options: ExecOptions = {}): Promise<ExecResult> => {
      const environment = Object.entries(options.env ?? {}).map(([name, value]) => `${name}=${value}`);
      return peer.exec('env', [...environment, 'sh', '-c', command], { timeoutMs: options.timeout ?? DEFAULT_TIMEOUT_MS });
    },
    put: (path, content, mode) => peer.put(path, content, mode),
    close: async () => {},
  };
}

function assignments(environment: Record<string, string> = {}): string {
  return Object.entries(environment)
    .map(([name, value]) => `${name}=${quote(value)}`)
    .join(' ');
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
