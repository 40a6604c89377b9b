import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { createServer, request } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

export interface Gate {
  host: string;
  code: string;
  certificate: string;
  client: { certificate: string; key: string };
  user: string;
}

/** A TLS listener on loopback whose gate is told once it is known. */
export interface AuthProxy {
  port: number;
  serve(gate: Gate): void;
  close(): Promise<void>;
}

/**
 * The least that stands between a browser and a gate: it signs everybody in as one user and adds the code. For tests.
 * @param work a folder for its key.
 */
export async function startAuthProxy(work: string): Promise<AuthProxy> {
  const [key, certificate] = [join(work, 'proxy.key'), join(work, 'proxy.crt')];
  const request509 = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  execFileSync('openssl', [...request509, '-subj', '/CN=localhost', '-keyout', key, '-out', certificate], {
    stdio: 'ignore',
  });
  let gate: Gate | undefined;
  const ask = (incoming: IncomingMessage) => {
    if (!gate) throw new Error('no gate yet');
    return request({
      host: gate.host,
      port: 443,
      servername: 'localhost',
      ca: gate.certificate,
      cert: gate.client.certificate,
      key: gate.client.key,
      method: incoming.method,
      path: incoming.url,
      headers: { ...incoming.headers, 'x-clawdy-code': gate.code, 'x-clawdy-user': gate.user },
    });
  };
  const server = createServer({ key: readFileSync(key), cert: readFileSync(certificate) }, (incoming, outgoing) => {
    const asked = ask(incoming);
    asked.on('response', (answer) => {
      outgoing.writeHead(answer.statusCode as number, answer.headers);
      answer.pipe(outgoing);
    });
    asked.on('error', (error) => outgoing.writeHead(502).end(error.message));
    incoming.pipe(asked);
  });
  server.on('upgrade', (incoming, socket, head) => {
    const asked = ask(incoming);
    asked.on('upgrade', (answer, upstream, first) => {
      const headers = answer.rawHeaders.map((word, index) => (index % 2 ? `${word}\r\n` : `${word}: `)).join('');
      socket.write(`HTTP/1.1 101 Switching Protocols\r\n${headers}\r\n`);
      if (first.length) socket.write(first);
      if (head.length) upstream.write(head);
      upstream.pipe(socket).pipe(upstream);
      upstream.on('error', () => socket.destroy());
      socket.on('error', () => upstream.destroy());
    });
    asked.on('response', (answer) => socket.end(`HTTP/1.1 ${answer.statusCode} Refused\r\n\r\n`));
    asked.on('error', () => socket.destroy());
    asked.end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    serve: (to) => {
      gate = to;
    },
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}
