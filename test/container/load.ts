import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type ClientHttp2Session, connect as connectH2 } from 'node:http2';
import { Agent, type RequestOptions, request } from 'node:https';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type TLSSocket } from 'node:tls';
import { GATE_HEADERS } from '../../src/contract/gate.ts';

/** How the load reaches a gate. */
export interface Gate {
  address: string;
  certificate: string;
  client: { certificate: string; key: string };
  /** The code that the registry has now. */
  code: () => string;
}

/** An app behind it, which load-app.py is. */
export const APP_PORT = 3000;
/** A stream or a WebSocket lasts so long; an overlap must be longer. Milliseconds. */
export const LIFE_MS = 3_000;
const LIMIT_MS = 20_000;
const PING = Buffer.from('0123456789abcdef');

const tls = ({ address, certificate, client }: Gate) => ({
  host: address,
  port: 443,
  ca: certificate,
  cert: client.certificate,
  key: client.key,
  checkServerIdentity: () => undefined,
});

export const headersOf = (code: string): Record<string, string> => ({
  [GATE_HEADERS.code]: code,
  [GATE_HEADERS.port]: String(APP_PORT),
});

/** One kind of traffic: what went well, and everything that didn't. */
export interface Kind {
  name: string;
  done: number;
  failures: string[];
}

/** Traffic of every kind at once, until it is stopped: as an auth proxy's, which takes the code from the registry each time. */
export function startLoad(gate: Gate): { kinds: Kind[]; stop: () => Promise<void> } {
  let over = false;
  const kinds: Kind[] = [];
  const loop = (name: string, one: () => Promise<void>) => {
    const kind: Kind = { name, done: 0, failures: [] };
    kinds.push(kind);
    return (async () => {
      while (!over) {
        try {
          await one();
          kind.done++;
        } catch (error) {
          kind.failures.push(`${new Date().toISOString()} ${error instanceof Error ? error.message : error}`);
          await sleep(100);
        }
      }
    })();
  };
  const agent = new Agent({ ...tls(gate), keepAlive: true, maxSockets: 2 });
  const h2 = new H2(gate);
  const loops = [
    loop('keep-alive', () => ask(gate, agent, '/')),
    loop('keep-alive', () => ask(gate, agent, '/')),
    loop('new connection', async () => {
      await ask(gate, new Agent({ ...tls(gate), keepAlive: false }), '/');
      await sleep(50);
    }),
    loop('h2', () => h2.ask()),
    loop('h2', () => h2.ask()),
    loop('events', () => events(gate)),
    loop('websocket', () => webSocket(gate)),
  ];
  return {
    kinds,
    stop: async () => {
      over = true;
      await Promise.all(loops);
      agent.destroy();
      h2.close();
    },
  };
}

async function ask(gate: Gate, agent: Agent, path: string): Promise<void> {
  const { status, body } = await get({ ...tls(gate), agent, path, headers: headersOf(gate.code()) });
  if (status !== 200 || body !== 'ok') throw new Error(`${status} ${body.slice(0, 80)}`);
}

/** One request by HTTP/1.1, to its end. */
export async function get(options: RequestOptions): Promise<{ status: number; body: string }> {
  const asking = request({ ...options, signal: AbortSignal.timeout(LIMIT_MS) });
  const answered = once(asking, 'response');
  asking.end();
  const [response] = await answered;
  let body = '';
  for await (const part of response) body += part;
  return { status: response.statusCode, body };
}

/** What a code gets on a connection of its own. */
export async function statusOf(gate: Gate, code: string): Promise<number> {
  const { status } = await get({ ...tls(gate), agent: new Agent(), path: '/', headers: headersOf(code) });
  return status;
}

/** A client of HTTP/2 as any: it goes to a new connection when the old one says GOAWAY. */
class H2 {
  readonly #gate: Gate;
  #session: ClientHttp2Session | undefined;

  constructor(gate: Gate) {
    this.#gate = gate;
  }

  /**
   * A stream that was opened while a GOAWAY was on its way here is refused, and was never looked at: whoever speaks HTTP/2 asks
   * again on a new connection (RFC 9113, 6.8 and 8.7).
   */
  async ask(): Promise<void> {
    try {
      await this.#once();
    } catch (error) {
      if (!(error instanceof Error && error.message.includes('NGHTTP2_REFUSED_STREAM'))) throw error;
      this.#session?.close();
      await this.#once();
    }
  }

  async #once(): Promise<void> {
    if (!this.#session || this.#session.closed || this.#session.destroyed) {
      const session = connectH2(`https://${this.#gate.address}`, { ...tls(this.#gate), ALPNProtocols: ['h2'] });
      session.on('goaway', () => session.close());
      session.on('error', () => {});
      this.#session = session;
    }
    const stream = this.#session.request({ ':path': '/', ...headersOf(this.#gate.code()) });
    stream.setTimeout(LIMIT_MS, () => stream.destroy(new Error('no answer')));
    let status = 0;
    stream.on('response', (headers) => {
      status = Number(headers[':status']);
    });
    let body = '';
    for await (const part of stream) body += part;
    if (status !== 200 || body !== 'ok') throw new Error(`${status} ${body.slice(0, 80)}`);
  }

  close(): void {
    this.#session?.destroy();
  }
}

async function events(gate: Gate): Promise<void> {
  const count = LIFE_MS / 100;
  const agent = new Agent({ ...tls(gate) });
  const { status, body } = await get({
    ...{ ...tls(gate), agent, path: `/events?count=${count}`, headers: headersOf(gate.code()) },
  });
  const got = body.match(/^data: /gm)?.length ?? 0;
  if (status !== 200 || got !== count) throw new Error(`${status}, ${got} of ${count} events`);
}

async function webSocket(gate: Gate): Promise<void> {
  const socket = await openWebSocket(gate, gate.code());
  try {
    for (const end = Date.now() + LIFE_MS; Date.now() < end; await sleep(100)) await ping(socket);
  } finally {
    socket.destroy();
  }
}

/** A WebSocket through the gate, of which the app echoes every byte. */
export async function openWebSocket(gate: Gate, code: string): Promise<TLSSocket> {
  const socket = connect({ ...tls(gate), ALPNProtocols: ['http/1.1'] });
  socket.on('error', () => {});
  await once(socket, 'secureConnect', { signal: AbortSignal.timeout(LIMIT_MS) });
  const own = { 'sec-websocket-key': randomBytes(16).toString('base64'), 'sec-websocket-version': '13' };
  const headers = { host: 'x', connection: 'upgrade', upgrade: 'websocket', ...own, ...headersOf(code) };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`GET / HTTP/1.1\r\n${lines.join('')}\r\n`);
  const head = String(await next(socket));
  if (!head.startsWith('HTTP/1.1 101')) throw new Error(head.split('\r\n')[0]);
  return socket;
}

/** @throws Error when the bytes don't come back. */
export async function ping(socket: Socket): Promise<void> {
  socket.write(PING);
  const back = await next(socket);
  if (!back.equals(PING)) throw new Error('a WebSocket gives back something else');
}

async function next(socket: Socket): Promise<Buffer> {
  if (socket.closed) throw new Error('a WebSocket was closed');
  // Whichever comes first, the other is listened for no more.
  const heard = new AbortController();
  const signal = AbortSignal.any([heard.signal, AbortSignal.timeout(LIMIT_MS)]);
  const ended = once(socket, 'close', { signal }).then(() => {
    throw new Error('a WebSocket was closed');
  });
  ended.catch(() => {});
  try {
    const [chunk] = await Promise.race([once(socket, 'data', { signal }), ended]);
    return chunk as Buffer;
  } finally {
    heard.abort();
  }
}
