import type { EdgeConfig, EdgeSecrets, Entry } from '../../../../src/contract/edge.ts';

/** Where instances are known. */
export interface Registry {
  get(slug: string): Promise<Entry | undefined>;
  /** Keeps it unless a newer one is there. @returns whether it is kept. */
  put(entry: Entry): Promise<boolean>;
}

/** One end of a WebSocket. */
export interface Socket {
  send(data: string | ArrayBuffer): void;
  close(code: number, reason: string): void;
  /** Both are set once, before anything has come. */
  onMessage(take: (data: string | ArrayBuffer) => void): void;
  onClose(take: (code: number, reason: string) => void): void;
}

/** What a place gives to the proxy: Cloudflare's network, or a Node process. */
export interface Runtime {
  config: EdgeConfig;
  secrets: EdgeSecrets;
  registry: Registry;
  /** To an instance's gate, with the client certificate; redirects aren't followed, nothing is kept. @throws where it can't be reached. */
  fetch(
    entry: Entry,
    path: string,
    init: { method: string; headers: Headers; body: ReadableStream<Uint8Array> | null },
  ): Promise<Response>;
  /** A WebSocket to the gate, or its answer where it refused. @throws where it can't be reached. */
  connect(
    entry: Entry,
    path: string,
    headers: Headers,
  ): Promise<{ socket: Socket; protocol: string | null } | Response>;
  /** Answers the visitor's upgrade; `joined` gets their end. */
  accept(protocol: string | null, joined: (visitor: Socket) => void): Response;
  /** For whoever runs it; never holds a secret. */
  log(line: string): void;
}
