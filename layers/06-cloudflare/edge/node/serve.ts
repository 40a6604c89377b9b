import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { WebSocketServer } from 'ws';
import type { EdgeConfig, EdgeSecrets } from '../../../../src/contract/edge.ts';
import { handle } from '../core/handle.ts';
import type { Runtime, Socket } from '../core/runtime.ts';
import { fileRegistry } from './file-registry.ts';
import { type ClientPair, originsBy } from './origin.ts';
import { socketOf } from './socket.ts';

export interface ServeOptions {
  config: EdgeConfig;
  secrets: EdgeSecrets;
  /** What visitors see, PEM, for all hosts of both domains. */
  tls: ClientPair;
  /** What gates ask for. */
  client: ClientPair;
  /** Folder of the registry. */
  registry: string;
  address: string;
  port: number;
  log: (line: string) => void;
}

/** Milliseconds that a stream may go on after the proxy was told to end. */
const GRACE_MS = 10_000;

/**
 * The auth proxy as a Node server, for who has no Worker. @returns its port, and how to end it: no more connections, then those that
 * are open get a while.
 */
export async function serve(options: ServeOptions): Promise<{ port: number; close: () => Promise<void> }> {
  const { config, secrets, log } = options;
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: 64 * 1024 * 1024 });
  const server = createServer({ ...{ key: options.tls.key, cert: options.tls.certificate, minVersion: 'TLSv1.2' } });
  const runtime: Omit<Runtime, 'accept'> = {
    ...{ config, secrets, log, registry: fileRegistry(options.registry), ...originsBy(options.client) },
  };

  server.on('request', async (incoming, outgoing) => {
    const asked = requestOf(incoming);
    if (!asked) return void outgoing.writeHead(400).end();
    const answer = await handle({ ...runtime, accept: () => new Response(null, { status: 400 }) }, asked);
    outgoing.writeHead(answer.status, headersOf(answer));
    // Who goes away in the middle isn't an error of anybody's.
    if (answer.body)
      await pipeline(Readable.fromWeb(answer.body as Parameters<typeof Readable.fromWeb>[0]), outgoing).catch(() => {});
    else outgoing.end();
  });
  server.on('upgrade', async (incoming, stream, head) => {
    stream.on('error', () => stream.destroy());
    let joined: ((visitor: Socket) => void) | undefined;
    let protocol: string | null = null;
    const accept: Runtime['accept'] = (chosen, then) => {
      [joined, protocol] = [then, chosen];
      // It can't say 101.
      return new Response(null, { status: 200 });
    };
    const asked = requestOf(incoming);
    const answer = asked ? await handle({ ...runtime, accept }, asked) : new Response(null, { status: 400 });
    if (!joined) {
      const lines = Object.entries(headersOf(answer)).flatMap(([name, value]) =>
        [value].flat().map((one) => `${name}: ${one}\r\n`),
      );
      const body = answer.body ? Buffer.from(await answer.arrayBuffer()) : Buffer.alloc(0);
      const framing = `content-length: ${body.length}\r\nconnection: close\r\n`;
      stream.write(
        `HTTP/1.1 ${answer.status} Refused\r\n${lines.join('').replace(/^(content-length|transfer-encoding):.*\r\n/gim, '')}${framing}\r\n`,
      );
      return void stream.end(body);
    }
    // The one that the gate has chosen.
    incoming.headers['sec-websocket-protocol'] = protocol ?? undefined;
    const then = joined;
    sockets.handleUpgrade(incoming, stream, head, (visitor) => then(socketOf(visitor)));
  });
  server.listen(options.port, options.address);
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      server.close();
      for (const socket of sockets.clients) socket.close(1001, 'the proxy ends');
      server.closeIdleConnections();
      const late = setTimeout(() => server.closeAllConnections(), GRACE_MS);
      await once(server, 'close');
      clearTimeout(late);
    },
  };
}

/** By the host that the visitor named, once; undefined for what names none. */
function requestOf(incoming: IncomingMessage): Request | undefined {
  const hosts = incoming.headersDistinct.host ?? [];
  const url = `https://${hosts[0]}${incoming.url}`;
  if (
    hosts.length !== 1 ||
    !incoming.url?.startsWith('/') ||
    !URL.canParse(url) ||
    new URL(url).host !== hosts[0]?.toLowerCase()
  )
    return undefined;
  const method = incoming.method as string;
  const headers = new Headers();
  for (let at = 0; at < incoming.rawHeaders.length; at += 2) {
    try {
      headers.append(incoming.rawHeaders[at] as string, incoming.rawHeaders[at + 1] as string);
    } catch {
      return undefined;
    }
  }
  const body = ['GET', 'HEAD'].includes(method) ? null : (Readable.toWeb(incoming) as ReadableStream<Uint8Array>);
  try {
    const request = new Request(url, { method, headers, body, ...(body ? { duplex: 'half' } : {}) } as RequestInit);
    // A Request drops what browsers may not set themselves, and these came from one.
    Object.defineProperty(request, 'headers', { value: headers });
    return request;
  } catch {
    return undefined;
  }
}

function headersOf({ headers }: Response): Record<string, string | string[]> {
  const plain: Record<string, string | string[]> = Object.fromEntries(headers);
  const cookies = headers.getSetCookie();
  if (cookies.length) plain['set-cookie'] = cookies;
  return plain;
}
