/** What the core asks of the runtime that it is in: a Worker or Node. */
import type { EdgeConfig, EdgeSecrets, Entry, LiveEntry } from '../../../../src/contract/edge.ts';
import type { Enrolment } from '../../../../src/contract/edge-enrolment.ts';
import type { Rate } from './rate.ts';

/** Things of one kind (kinds.ts) by their names. What it gives is of that kind's form, or it throws. */
export interface Store<Kept> {
  get(name: string): Promise<Kept | undefined>;
  /** @throws Stale where one as new or newer is there already. */
  put(kept: Kept): Promise<void>;
}

/** What counts once: tickets, states of a login, and sessions that were ended before their time. */
export interface Spent {
  /** @returns false where it was spent before. */
  spend(id: string, expires: number): Promise<boolean>;
  isSpent(id: string): Promise<boolean>;
}

/** The least of a WebSocket that both runtimes have. */
export interface Socket {
  send(data: string | ArrayBuffer): void;
  close(code?: number, reason?: string): void;
  /** Begins delivery. Called once. */
  listen(on: { message(data: string | ArrayBuffer): void; close(code: number, reason: string): void }): void;
}

/** An instance's answer to an upgrade: the socket, or the response with which it was refused. */
export type Connected = { socket: Socket; protocol: string } | { refusal: Response };

/** Answers the browser's upgrade. @returns its side, and what the runtime wants back as the response. */
export type Accept = (protocol: string) => { socket: Socket; response: Response };

/** A line of the log. Never a code, token, cookie, query or body. */
export type Log = (event: string, facts: Record<string, string | number>) => void;

export interface Runtime {
  config: EdgeConfig;
  secrets: EdgeSecrets;
  /** Instances by their slugs. */
  registry: Store<Entry>;
  /** Launches by their IDs; undefined where what is written doesn't count at once. */
  enrolments: Store<Enrolment> | undefined;
  /** Of an address' tries to enrol. */
  enrolRate: Rate;
  spent: Spent;
  log: Log;
  /** Seconds since 1970. */
  now(): number;
  /** To the issuer: its metadata, keys and token endpoint. */
  fetch(url: string, init: RequestInit): Promise<Response>;
  /**
   * To an instance, with the client certificate that its gate asks for. The request's URL has the browser's host name; where it
   * goes is `origin`. Redirects aren't followed, nothing is cached, the body isn't decoded.
   */
  ask(origin: LiveEntry['origin'], request: Request): Promise<Response>;
  /** The same for an upgrade. */
  connect(origin: LiveEntry['origin'], request: Request): Promise<Connected>;
}
