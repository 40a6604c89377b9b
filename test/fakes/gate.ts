import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { WebSocketServer } from 'ws';
import { GATE_HEADERS } from '../../src/contract/gate.ts';
import type { Pair } from './certificates.ts';

/**
 * A gate and what is behind it, by docs/gate-protocol.md: a client certificate is required; exactly one right code, which is
 * taken off; answers of its own as JSON. Behind it an echo that shows everything else that has arrived.
 */
export interface FakeGate {
  port: number;
  /** Codes and the instances that they open. */
  codes: Map<string, string>;
  /** `METHOD path`, of every request that came, whatever its code. */
  seen: string[];
  close(): Promise<void>;
}

/** What the echo says. */
export interface Echo {
  instance: string;
  method: string;
  path: string;
  headers: [string, string][];
  bytes: number;
  sha256: string;
}

const pairs = (raw: string[]) =>
  Array.from({ length: raw.length / 2 }, (_, index) => [raw[index * 2]?.toLowerCase(), raw[index * 2 + 1]]) as [
    string,
    string,
  ][];

/** @param clientCa whose certificates get in. */
export async function startFakeGate(server509: Pair, clientCa: string): Promise<FakeGate> {
  const tls = { cert: server509.certificate, key: server509.key };
  const server = createServer({ ...tls, ca: clientCa, requestCert: true, rejectUnauthorized: true });
  const gate = { codes: new Map<string, string>(), seen: [] as string[] };
  const refuse = (response: ServerResponse, status: number, error: string) => {
    const body = JSON.stringify({ error });
    response.writeHead(status, { 'content-type': 'application/json', 'content-length': body.length }).end(body);
  };
  /** @returns the instance that the one code opens. */
  const opened = (incoming: IncomingMessage) => {
    gate.seen.push(`${incoming.method} ${incoming.url}`);
    const codes = pairs(incoming.rawHeaders).filter(([name]) => name === GATE_HEADERS.code);
    return codes.length === 1 ? gate.codes.get(codes[0]?.[1] ?? '') : undefined;
  };
  const headersOf = (incoming: IncomingMessage) =>
    pairs(incoming.rawHeaders).filter(([name]) => name !== GATE_HEADERS.code);

  server.on('request', async (incoming, response) => {
    const instance = opened(incoming);
    if (!instance) return refuse(response, 401, 'code_required');
    const path = (incoming.url ?? '').split('?')[0] ?? '';
    const special = SPECIAL[path];
    if (special) return special(incoming, response, refuse);
    const hash = createHash('sha256');
    let bytes = 0;
    for await (const part of incoming) {
      hash.update(part);
      bytes += part.length;
    }
    const { method = '', url = '' } = incoming;
    const echo: Echo = { instance, method, path: url, headers: headersOf(incoming), bytes, sha256: hash.digest('hex') };
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(echo));
  });

  const sockets = new WebSocketServer({ noServer: true, handleProtocols: (offered) => [...offered].at(-1) ?? false });
  server.on('upgrade', (incoming, socket, head) => {
    if (!opened(incoming)) {
      const body = '{"error":"code_required"}';
      const headers = `Content-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close`;
      return socket.end(`HTTP/1.1 401 Unauthorized\r\n${headers}\r\n\r\n${body}`);
    }
    sockets.handleUpgrade(incoming, socket, head, (browser) => {
      // At once: what an instance says first must not get lost.
      browser.send(JSON.stringify({ hello: headersOf(incoming) }));
      browser.on('message', (data, binary) => {
        if (String(data) === 'close') browser.close(4100, 'as asked');
        else browser.send(data, { binary });
      });
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    ...gate,
    port: (server.address() as AddressInfo).port,
    close: async () => {
      for (const browser of sockets.clients) browser.terminate();
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

type Special = (
  incoming: IncomingMessage,
  response: ServerResponse,
  refuse: (response: ServerResponse, status: number, error: string) => void,
) => unknown;

const SPECIAL: Record<string, Special> = {
  '/starting': (_incoming, response, refuse) => refuse(response, 503, 'starting'),
  '/app-unreachable': (_incoming, response, refuse) => refuse(response, 502, 'app_unreachable'),
  '/page': (_incoming, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<h1>An app</h1>'),
  '/gzip': (_incoming, response) =>
    response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync('squeezed '.repeat(500))),
  '/redirect': (_incoming, response) =>
    response.writeHead(302, { location: 'https://elsewhere.test/', 'set-cookie': ['a=1; Path=/', 'b=2'] }).end(),
  '/public': (_incoming, response) =>
    response.writeHead(200, { 'cache-control': 'public, max-age=60, s-maxage=600', vary: 'Accept' }).end('all'),
  /** An app that wants to be more than one. */
  '/wicked': (_incoming, response) =>
    response
      .writeHead(200, {
        'set-cookie': [
          '__Host-clawdy=planted; Path=/; Secure',
          '=__Host-clawdy=nameless',
          'CF_Authorization=planted',
          'kept=1; Domain=clawdyapps.test; Path=/',
        ],
        ...{ 'x-clawdy-user': 'somebody', 'alt-svc': 'h3="elsewhere.test:443"', 'cdn-cache-control': 'max-age=9999' },
      })
      .end('wicked'),
  '/sse': async (_incoming, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    for (let number = 0; number < 3; number++) {
      response.write(`data: ${number}\n\n`);
      await sleep(200);
    }
    response.end();
  },
};
