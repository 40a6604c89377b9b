/** To a gate: TLS with our client certificate, and its own certificate compared byte by byte. */
import { X509Certificate } from 'node:crypto';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { Agent, request as httpsRequest } from 'node:https';
import { isIP } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream } from 'node:stream/web';
import { type ConnectionOptions, connect as tlsConnect } from 'node:tls';
import WebSocket from 'ws';
import type { LiveEntry } from '../../../../src/contract/edge.ts';
import type { Connected } from '../core/runtime.ts';
import { LARGEST_MESSAGE, socketOf } from './sockets.ts';

/** PEM: what the gates know us by. */
export interface ClientCertificate {
  certificate: string;
  key: string;
}

/** Milliseconds for connection and handshake. */
const CONNECT_MS = 10_000;

/** Statuses that never have a body (https://fetch.spec.whatwg.org/#null-body-status). */
const BODILESS = [204, 205, 304];

/** Kept connections are told apart by host, port and certificates. */
const agent = new Agent({ keepAlive: true, maxSockets: 256, timeout: 60_000 });

function tlsOptions(origin: LiveEntry['origin'], client: ClientCertificate): ConnectionOptions {
  const pinned = new X509Certificate(origin.certificate).raw;
  return {
    ...{ host: origin.host, port: origin.port, cert: client.certificate, key: client.key },
    ...(isIP(origin.host) ? {} : { servername: origin.host }),
    // The certificate itself is what is trusted, whoever signed it; its names don't matter.
    ...{ ca: origin.certificate, allowPartialTrustChain: true },
    checkServerIdentity: (_host, peer) =>
      peer.raw.equals(pinned) ? undefined : Object.assign(new Error('another certificate'), { code: 'NOT_PINNED' }),
  };
}

/** @throws Error where the gate can't be reached, or shows another certificate. */
export async function ask(origin: LiveEntry['origin'], client: ClientCertificate, request: Request): Promise<Response> {
  const { host, origin: own } = new URL(request.url);
  const headers: Record<string, string> = { ...Object.fromEntries(request.headers), host };
  // Node frames no body of DELETE or OPTIONS by itself: it would be read as the next request.
  if (request.body && !('content-length' in headers)) headers['transfer-encoding'] = 'chunked';
  const asked = httpsRequest({
    ...tlsOptions(origin, client),
    ...{ agent, method: request.method, path: request.url.slice(own.length), headers, signal: request.signal },
  });
  const answer = responseTo(asked);
  limitConnecting(asked);
  if (request.body) {
    const body = Readable.fromWeb(request.body as ReadableStream);
    // Its failure is the request's, which `answer` tells.
    pipeline(body, asked).catch((error) => asked.destroy(error));
  } else asked.end();
  const message = await answer;
  return responseOf(message, request.method);
}

function responseTo(asked: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    asked.on('response', resolve);
    asked.on('error', reject);
  });
}

/** Only the way there is limited: an answer may take its time. */
function limitConnecting(asked: ClientRequest): void {
  const timer = setTimeout(() => asked.destroy(Object.assign(new Error('timeout'), { code: 'ETIMEDOUT' })), CONNECT_MS);
  const stop = () => clearTimeout(timer);
  asked.on('close', stop);
  asked.on('socket', (socket) => {
    if (socket.connecting) socket.once('secureConnect', stop);
    else stop();
  });
}

function responseOf(message: IncomingMessage, method: string): Response {
  const headers = new Headers();
  for (let index = 0; index < message.rawHeaders.length; index += 2)
    headers.append(message.rawHeaders[index] as string, message.rawHeaders[index + 1] as string);
  const status = message.statusCode ?? 502;
  const bodiless = method === 'HEAD' || BODILESS.includes(status);
  if (bodiless) message.resume();
  return new Response(bodiless ? null : (Readable.toWeb(message) as Response['body']), { status, headers });
}

/** @throws Error as `ask`. */
export function connect(origin: LiveEntry['origin'], client: ClientCertificate, request: Request): Promise<Connected> {
  const headers = Object.fromEntries(request.headers);
  const protocols = (headers['sec-websocket-protocol'] ?? '').split(',').map((one) => one.trim());
  delete headers['sec-websocket-protocol'];
  const socket = new WebSocket(request.url.replace(/^https:/, 'wss:'), protocols.filter(Boolean), {
    ...{ headers, perMessageDeflate: false, followRedirects: false, handshakeTimeout: CONNECT_MS },
    maxPayload: LARGEST_MESSAGE,
    createConnection: (() => tlsConnect(tlsOptions(origin, client))) as never,
  });
  return new Promise((resolve, reject) => {
    socket.once('open', () => {
      socket.pause();
      resolve({ socket: socketOf(socket), protocol: socket.protocol });
    });
    socket.once('unexpected-response', (_asked, answer) => resolve({ refusal: responseOf(answer, 'GET') }));
    socket.on('error', reject);
  });
}
