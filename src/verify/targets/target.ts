/** How a command inside a target ended. */
export interface ExecResult {
  exitCode: number;
  stdout: string;
  stderr: string;
}

export interface ExecOptions {
  /** Who runs it: root, or the agent's uid as its own service would. Default root. */
  as?: 'root' | 'agent';
  env?: Record<string, string>;
  /** Milliseconds; default two minutes. */
  timeout?: number;
}

/** A machine made from an image: a container of its tree or a VM of its disk. */
export interface Target {
  kind: 'container' | 'vm';
  addresses: { v4: string; v6: string };
  /** Runs a shell command line in the box. A failing command is a result, not an error. */
  exec(command: string, options?: ExecOptions): Promise<ExecResult>;
  /** Writes a file, root-owned. */
  put(path: string, content: string | Buffer, mode: string): Promise<void>;
  /** Everything the box has said on its console. */
  console(): Promise<string>;
  /** A command for this machine's terminal that opens a shell in the box, where there is one. */
  shellCommand?: readonly string[];
  /** Ends the box and all that it started. */
  close(): Promise<void>;
}

/** Another host on the target's network, from which attacks come. */
export interface Peer {
  addresses: { v4: string; v6: string };
  /** Runs a shell command line on the peer. */
  exec(command: string, options?: ExecOptions): Promise<ExecResult>;
  put(path: string, content: string | Buffer, mode: string): Promise<void>;
  close(): Promise<void>;
}
