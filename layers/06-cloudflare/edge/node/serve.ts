/** The auth proxy as a server of its own, for who has no Worker. The gate's mode is `direct` then. */
import { readFileSync } from 'node:fs';
import { type IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import { ENROL_RATE } from '../../../../src/contract/edge-enrolment.ts';
import { handle } from '../core/handle.ts';
import { ENROLMENTS, ENTRIES } from '../core/kinds.ts';
import { word } from '../core/pages.ts';
import { Rate } from '../core/rate.ts';
import type { Accept, Log, Runtime } from '../core/runtime.ts';
import { FileSpent, FileStore } from './files.ts';
import { requestOf, send } from './incoming.ts';
import { ask, connect } from './origin.ts';
import { type NodeSettings, readSecrets } from './settings.ts';
import { LARGEST_MESSAGE, socketOf } from './sockets.ts';

/** Milliseconds for a whole request: a large upload on a slow line. */
const REQUEST_MS = 3600_000;

/** Milliseconds that open requests have when the server ends. */
const GRACE_MS = 10_000;

export interface Served {
  port: number;
  /** Takes no new request, lets open ones end, tells WebSockets to come again. */
  close(): Promise<void>;
}

const toStandardError: Log = (event, facts) => process.stderr.write(`${JSON.stringify({ event, ...facts })}\n`);

/**
 * Serves until it is closed.
 * @throws Error where a file can't be read or the port can't be had.
 */
export async function serve(settings: NodeSettings, log: Log = toStandardError): Promise<Served> {
  const runtime = runtimeOf(settings, log);
  const tls = { cert: readFileSync(settings.tls.certificate), key: readFileSync(settings.tls.key) };
  const server = createServer({ ...tls, minVersion: 'TLSv1.2', requestTimeout: REQUEST_MS });
  const protocols = new WeakMap<IncomingMessage, string>();
  const sockets = new WebSocketServer({
    ...{ noServer: true, perMessageDeflate: false, maxPayload: LARGEST_MESSAGE },
    handleProtocols: (_offered, incoming) => protocols.get(incoming) || false,
  });

  server.on('request', async (incoming, outgoing) => {
    const request = requestOf(incoming, goneSignal(outgoing));
    const refuse: Accept = () => {
      throw new Error('not an upgrade');
    };
    const response = request ? await handle(runtime, request, visitorOf(incoming), refuse) : word(400, 'bad_request');
    await send(response, outgoing).catch(() => outgoing.destroy());
  });

  server.on('upgrade', async (incoming, socket, head) => {
    socket.on('error', () => socket.destroy());
    const request = isHandshake(incoming) ? requestOf(incoming, new AbortController().signal) : undefined;
    let accepted = false;
    const accept: Accept = (protocol) => {
      protocols.set(incoming, protocol);
      let made: ReturnType<typeof socketOf> | undefined;
      sockets.handleUpgrade(incoming, socket, head, (browser) => {
        made = socketOf(browser);
      });
      if (!made) throw new Error('no handshake');
      accepted = true;
      return { socket: made, response: new Response(null) };
    };
    const response = request ? await handle(runtime, request, visitorOf(incoming), accept) : word(400, 'bad_request');
    if (!accepted) await refuseUpgrade(incoming, socket, response).catch(() => socket.destroy());
  });

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(settings.listen.port, settings.listen.host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      for (const browser of sockets.clients) browser.close(1001, 'restarting');
      const timer = setTimeout(() => server.closeAllConnections(), GRACE_MS);
      await new Promise((resolve) => {
        server.close(resolve);
        server.closeIdleConnections();
      });
      clearTimeout(timer);
    },
  };
}

function runtimeOf({ edge, state, secrets, client }: NodeSettings, log: Log): Runtime {
  const certificate = readFileSync(client.certificate, 'utf8');
  const key = readFileSync(client.key, 'utf8');
  const now = () => Date.now() / 1000;
  return {
    ...{ config: edge, secrets: readSecrets(secrets), log, now },
    registry: new FileStore(join(state, 'registry'), ENTRIES, now),
    enrolments: new FileStore(join(state, 'enrolments'), ENROLMENTS, now),
    enrolRate: new Rate(ENROL_RATE),
    spent: new FileSpent(join(state, 'spent'), now),
    fetch: (url, init) => fetch(url, init),
    ask: (origin, request) => ask(origin, { certificate, key }, request),
    connect: (origin, request) => connect(origin, { certificate, key }, request),
  };
}

const visitorOf = ({ socket }: IncomingMessage) => socket.remoteAddress ?? '';

/** Aborts when a browser goes before its answer is complete. */
function goneSignal(outgoing: ServerResponse): AbortSignal {
  const gone = new AbortController();
  outgoing.on('close', () => {
    if (!outgoing.writableFinished) gone.abort();
  });
  return gone.signal;
}

/** What `ws` would refuse, after the instance has been asked (RFC 6455, 4.2.1). */
function isHandshake({ headers, method }: IncomingMessage): boolean {
  const key = headers['sec-websocket-key'] ?? '';
  return method === 'GET' && /^[+/0-9A-Za-z]{22}==$/.test(key) && headers['sec-websocket-version'] === '13';
}

async function refuseUpgrade(incoming: IncomingMessage, socket: Duplex, response: Response): Promise<void> {
  const outgoing = new ServerResponse(incoming);
  outgoing.shouldKeepAlive = false;
  outgoing.assignSocket(socket as never);
  outgoing.on('finish', () => socket.end());
  await send(response, outgoing);
}
