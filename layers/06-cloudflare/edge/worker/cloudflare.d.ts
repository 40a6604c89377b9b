// The little of Cloudflare's runtime that is used: https://developers.cloudflare.com/workers/runtime-apis/
declare class WebSocketPair {
  readonly 0: WorkerSocket;
  readonly 1: WorkerSocket;
}

interface WorkerSocket extends WebSocket {
  accept(): void;
}

interface DurableObjectState {
  storage: {
    get(key: string): Promise<unknown>;
    put(key: string, value: unknown): Promise<void>;
    transaction<T>(work: (storage: DurableObjectState['storage']) => Promise<T>): Promise<T>;
  };
}

interface DurableObjectNamespace {
  idFromName(name: string): object;
  get(id: object): { fetch(url: string, init?: RequestInit): Promise<Response> };
}

interface KvNamespace {
  get(key: string, options: { type: 'text'; cacheTtl: number }): Promise<string | null>;
  put(key: string, value: string): Promise<void>;
}
