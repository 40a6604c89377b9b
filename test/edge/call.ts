import { once } from 'node:events';
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';
import { request } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'node:tls';
import WebSocket from 'ws';

export interface Asking {
  method?: string;
  /** `host` is set; a name may have several values. */
  headers?: OutgoingHttpHeaders;
  body?: string | Buffer;
  /** Told of each piece of the answer as it comes. */
  piece?: (data: string) => void;
}

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  /** Names and values, as they came. */
  raw: string[];
  bytes: Buffer;
  text: string;
}

const LIMIT_MS = 20_000;

/** One request to a runtime that listens on loopback, as a browser would send it for `host`. */
export async function call(port: number, ca: string, host: string, path: string, asking: Asking): Promise<Answer> {
  const { method = 'GET', headers = {}, body, piece } = asking;
  const asked = request({
    ...{ host: '127.0.0.1', port, servername: host, ca, agent: false, method, path },
    headers: { host: `${host}:${port}`, ...headers },
    signal: AbortSignal.timeout(LIMIT_MS),
  });
  asked.end(body);
  const [answer] = await once(asked, 'response');
  const parts: Buffer[] = [];
  for await (const part of answer) {
    parts.push(part);
    piece?.(String(part));
  }
  const bytes = Buffer.concat(parts);
  return { status: answer.statusCode, headers: answer.headers, raw: answer.rawHeaders, bytes, text: bytes.toString() };
}

/** Bytes on a TLS connection, as no client would send them. @returns what came back until it ended, or fell silent. */
export async function raw(port: number, ca: string, host: string, bytes: string): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port, servername: host, ca });
  await once(socket, 'secureConnect');
  let text = '';
  socket.on('data', (data) => {
    text += data;
  });
  socket.on('error', () => {});
  socket.write(bytes);
  socket.setTimeout(1500, () => socket.destroy());
  await once(socket, 'close');
  return text;
}

export interface Client {
  socket: WebSocket;
  /** The next message: text as a string, binary as a Buffer. */
  next(): Promise<string | Buffer>;
  /** How it ended; code 0 where it hasn't after ten seconds. */
  ended(): Promise<{ code: number; reason: string }>;
}

/** Opens a WebSocket. @throws Error `Unexpected server response: STATUS` where it is refused. */
export async function open(
  port: number,
  ca: string,
  host: string,
  path: string,
  headers: Record<string, string>,
  protocols: string[] = [],
): Promise<Client> {
  const socket = new WebSocket(`wss://127.0.0.1:${port}${path}`, protocols, {
    ...{ ca, servername: host, headers: { host: `${host}:${port}`, ...headers }, handshakeTimeout: LIMIT_MS },
  });
  const messages: (string | Buffer)[] = [];
  let wake = () => {};
  socket.on('message', (data: Buffer, binary) => {
    messages.push(binary ? data : data.toString());
    wake();
  });
  const closed = new Promise<{ code: number; reason: string }>((resolve) =>
    socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() })),
  );
  await once(socket, 'open');
  const next = async () => {
    const end = Date.now() + LIMIT_MS;
    while (!messages.length) {
      if (Date.now() > end) throw new Error('no message');
      await new Promise<void>((resolve) => {
        wake = resolve;
        setTimeout(resolve, 100);
      });
    }
    return messages.shift() as string | Buffer;
  };
  const ended = () => Promise.race([closed, sleep(10_000, { code: 0, reason: 'still open' }, { ref: false })]);
  return { socket, next, ended };
}
