/** What this project uses of hcloud-js 1.4.1, which has no types of its own. */
declare module 'hcloud-js' {
  export interface Request {
    url?: string;
    method?: string;
    params?: Record<string, unknown>;
    data?: unknown;
    signal?: AbortSignal;
  }

  export interface Answer {
    status: number;
    data: unknown;
    headers: Record<string, unknown>;
  }

  /** An axios instance; ^0.21 in hcloud-js' own words, lifted by `overrides` in package.json. */
  export interface Axios {
    (request: Request): Promise<Answer>;
    defaults: Record<string, unknown>;
    interceptors: {
      request: { use(onRequest: (request: Request) => Request): number };
      response: { use(onAnswer: (answer: Answer) => Answer, onFailure: (error: unknown) => never): number };
    };
  }

  export class Client {
    constructor(options: { token: string; baseURL: string; timeout: number });
    axios: Axios;
    actions: { get(id: number): Promise<unknown> };
    servers: {
      get(id: number): Promise<unknown>;
      list(params: Record<string, unknown>): Promise<unknown>;
      delete(id: number): Promise<unknown>;
      actions: {
        powerOn(id: number): Promise<unknown>;
        powerOff(id: number): Promise<unknown>;
        shutdown(id: number): Promise<unknown>;
        enableRescue(id: number, type: 'linux64', sshKeys: number[]): Promise<{ action: unknown }>;
      };
    };
    sshKeys: { delete(id: number): Promise<void> };
    images: { delete(id: number): Promise<void> };
  }

  const library: { Client: typeof Client };
  export default library;
}
