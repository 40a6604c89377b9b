import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { WebSocketServer } from 'ws';

export interface FakeGate {
  port: number;
  code: string;
  /** Every request that came as far as having a client certificate: its line and headers, as they were sent. */
  seen: { line: string; headers: [string, string][] }[];
  /** OpenClaw isn't ready. */
  starting: boolean;
  close(): Promise<void>;
}

/**
 * A gate as docs/gate-protocol.md describes it, with an OpenClaw behind it that says what it was asked. The real one is met in
 * test/container/edge.test.ts.
 */
export async function startGate(code: string, tls: { key: string; cert: string; ca: string }): Promise<FakeGate> {
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: (protocols) => [...protocols][0] ?? false });
  const server = createServer({ ...tls, requestCert: true, rejectUnauthorized: true });

  /** What the gate itself says, if it does. */
  const refusal = (incoming: IncomingMessage): [number, string, Record<string, string>] | undefined => {
    const headers: [string, string][] = [];
    for (let at = 0; at < incoming.rawHeaders.length; at += 2)
      headers.push([(incoming.rawHeaders[at] as string).toLowerCase(), incoming.rawHeaders[at + 1] as string]);
    gate.seen.push({ line: `${incoming.method} ${incoming.url}`, headers });
    const codes = headers.filter(([name]) => name === 'x-clawdy-code');
    if (codes.length !== 1 || codes[0]?.[1] !== gate.code) return [401, 'code_required', {}];
    if (gate.starting) return [503, 'starting', { 'retry-after': '10' }];
    return undefined;
  };
  server.on('request', async (incoming, outgoing) => {
    const refused = refusal(incoming);
    if (refused) {
      const [status, error, more] = refused;
      const body = JSON.stringify({ error });
      return void outgoing
        .writeHead(status, { 'content-type': 'application/json', 'content-length': body.length, ...more })
        .end(body);
    }
    const { pathname } = new URL(incoming.url ?? '', 'https://gate');
    if (pathname === '/upload') {
      const hash = createHash('sha256');
      let bytes = 0;
      for await (const chunk of incoming) {
        hash.update(chunk);
        bytes += chunk.length;
      }
      return void outgoing.end(JSON.stringify({ bytes, sha256: hash.digest('hex') }));
    }
    if (pathname === '/stream') {
      outgoing.writeHead(200, { 'content-type': 'text/event-stream' });
      for (let at = 0; at < 3; at++) {
        outgoing.write(`data: ${at}\n\n`);
        await new Promise((resolve) => setTimeout(resolve, 300));
      }
      return void outgoing.end();
    }
    if (pathname === '/cookies') {
      outgoing.setHeader('set-cookie', [
        'one=1; Path=/',
        'two=2; Domain=test; HttpOnly',
        '__Host-clawdy=stolen; Path=/; Secure',
        'CF_Authorization=x',
      ]);
      outgoing.setHeader('x-clawdy-code', gate.code);
      outgoing.setHeader('cache-control', 'public, s-maxage=9999');
      return void outgoing.writeHead(302, { location: 'https://elsewhere.example/' }).end();
    }
    const body = Buffer.concat(await incoming.toArray()).toString();
    outgoing.writeHead(200, { 'content-type': 'application/json', etag: '"1"' });
    outgoing.end(JSON.stringify({ ...gate.seen.at(-1), body }));
  });
  server.on('upgrade', (incoming, stream, head) => {
    const refused = refusal(incoming);
    if (refused)
      return void stream.end(`HTTP/1.1 ${refused[0]} Refused\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`);
    sockets.handleUpgrade(incoming, stream, head, (socket) => {
      socket.send('hello');
      socket.on('message', (data, isBinary) => {
        if (data.toString() === 'close 4007') socket.close(4007, 'as asked');
        else socket.send(data, { binary: isBinary });
      });
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const gate: FakeGate = {
    ...{ port: (server.address() as AddressInfo).port, code, seen: [], starting: false },
    close: async () => {
      for (const socket of sockets.clients) socket.terminate();
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return gate;
}
