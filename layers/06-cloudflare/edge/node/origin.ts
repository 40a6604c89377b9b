import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { Agent, type AgentOptions, request } from 'node:https';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { PeerCertificate } from 'node:tls';
import { WebSocket } from 'ws';
import type { Entry } from '../../../../src/contract/edge.ts';
import type { Runtime } from '../core/runtime.ts';
import { socketOf } from './socket.ts';

/** Milliseconds until a gate has to have begun to answer; agents think for minutes. */
const ANSWER_MS = 10 * 60_000;

/** What a gate asks for. PEM. */
export interface ClientPair {
  certificate: string;
  key: string;
}

/** The way to instances' gates: with the client certificate, and to the very certificate that the registry names. */
export function originsBy({ certificate, key }: ClientPair): Pick<Runtime, 'fetch' | 'connect'> {
  const agents = new Map<string, Agent>();
  const tls = (entry: Entry): AgentOptions => {
    if (!entry.certificate) return { cert: certificate, key };
    const wanted = new X509Certificate(entry.certificate).fingerprint256;
    return {
      ...{ cert: certificate, key, ca: entry.certificate, allowPartialTrustChain: true },
      checkServerIdentity: (_host: string, { fingerprint256 }: PeerCertificate) =>
        fingerprint256 === wanted ? undefined : new Error("the certificate isn't the gate's"),
    };
  };
  const agentFor = (entry: Entry): Agent => {
    const id = `${entry.origin} ${entry.certificate}`;
    const agent = agents.get(id) ?? new Agent({ ...tls(entry), keepAlive: true });
    agents.set(id, agent);
    return agent;
  };
  return {
    fetch: async (entry, path, { method, headers, body }) => {
      const asking = request(`https://${entry.origin}${path}`, {
        ...{ agent: agentFor(entry), method, headers: plain(headers), timeout: ANSWER_MS },
      });
      asking.on('timeout', () => asking.destroy(new Error('no answer')));
      const answered = once(asking, 'response') as Promise<[IncomingMessage]>;
      // That the gate answers before it has all isn't an error.
      if (body) pipeline(Readable.fromWeb(body as Parameters<typeof Readable.fromWeb>[0]), asking).catch(() => {});
      else asking.end();
      const [incoming] = await answered;
      return responseOf(incoming, method);
    },
    connect: async (entry, path, headers) => {
      const protocols = (headers.get('sec-websocket-protocol') ?? '').split(',').flatMap((name) => name.trim() || []);
      // The new connection has its own.
      const rest = Object.entries(plain(headers)).filter(([name]) => !name.startsWith('sec-websocket-'));
      const socket = new WebSocket(`wss://${entry.origin}${path}`, protocols, {
        ...{ ...tls(entry), headers: Object.fromEntries(rest), followRedirects: false, perMessageDeflate: false },
      });
      // What comes before somebody listens would be lost.
      const joined = socketOf(socket);
      return new Promise((resolve, reject) => {
        socket.on('open', () => resolve({ socket: joined, protocol: socket.protocol || null }));
        socket.on('unexpected-response', (_asked, incoming) => resolve(responseOf(incoming, 'GET')));
        socket.on('error', reject);
      });
    },
  };
}

const plain = (headers: Headers): Record<string, string> => Object.fromEntries(headers);

function responseOf(incoming: IncomingMessage, method: string): Response {
  const status = incoming.statusCode as number;
  const headers = new Headers();
  for (const [name, values] of Object.entries(incoming.headersDistinct))
    for (const value of values ?? []) headers.append(name, value);
  const none = method === 'HEAD' || [204, 205, 304].includes(status);
  if (none) incoming.resume();
  return new Response(none ? null : (Readable.toWeb(incoming) as ReadableStream), { status, headers });
}
