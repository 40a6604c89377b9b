/**
 * What a Worker has and Node hasn't, as far as it is used here. Cloudflare's own types redefine the globals that this project
 * has from Node's, so both can't be in one type check.
 */

export interface WorkerSocket {
  binaryType: string;
  accept(): void;
  send(data: string | ArrayBuffer): void;
  close(code?: number, reason?: string): void;
  addEventListener(kind: 'message', on: (event: { data: string | ArrayBuffer }) => void): void;
  addEventListener(kind: 'close', on: (event: { code: number; reason: string }) => void): void;
  addEventListener(kind: 'error', on: () => void): void;
}

export interface WorkerResponse extends Response {
  webSocket?: WorkerSocket | null;
}

export type WorkerInit = RequestInit & {
  /** The zone's host whose address is asked, while the URL's host stays (same zone only). */
  cf?: { resolveOverride: string };
};

export interface Fetcher {
  fetch(request: Request | string, init?: WorkerInit): Promise<WorkerResponse>;
}

export interface KvNamespace {
  get(key: string, options: { type: 'text'; cacheTtl?: number }): Promise<string | null>;
  put(key: string, value: string, options?: { expirationTtl?: number }): Promise<void>;
}

export interface DurableNamespace {
  idFromName(name: string): unknown;
  get(id: unknown): Fetcher;
}

export interface DurableState {
  storage: {
    get<T>(key: string): Promise<T | undefined>;
    put<T>(key: string, value: T): Promise<void>;
    deleteAll(): Promise<void>;
    setAlarm(at: number): Promise<void>;
  };
  blockConcurrencyWhile<T>(body: () => Promise<T>): Promise<T>;
}

/** The Worker's settings, secrets and bindings. */
export interface Env {
  /** JSON of edgeConfigSchema. */
  CONFIG: string;
  /** JSON of edgeSecretsSchema: a secret. */
  SECRETS: string;
  /** A registry where revocation is instant; without it KV's is used. */
  REGISTRY?: DurableNamespace;
  SPENT?: DurableNamespace;
  KV?: KvNamespace;
  /** An mTLS certificate's binding, for origins outside of the zone; within it the zone's origin pulls show the certificate. */
  ORIGIN?: Fetcher;
}
