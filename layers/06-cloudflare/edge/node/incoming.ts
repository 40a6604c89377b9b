/** Node's requests as the core has them, and the core's responses as Node sends them. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import type { ReadableStream } from 'node:stream/web';

const HOST = /^[A-Za-z0-9.-]+(:\d{1,5})?$/;

/**
 * @param signal aborts when the browser goes away.
 * @returns undefined for what has no single meaning: several Hosts, or a target that names a host of its own.
 */
export function requestOf(incoming: IncomingMessage, signal: AbortSignal): Request | undefined {
  const headers = new Headers();
  const hosts: string[] = [];
  for (let index = 0; index < incoming.rawHeaders.length; index += 2) {
    const [name = '', value = ''] = incoming.rawHeaders.slice(index, index + 2);
    if (name.toLowerCase() === 'host') hosts.push(value);
    headers.append(name, value);
  }
  const [host = ''] = hosts;
  const path = incoming.url ?? '';
  if (hosts.length !== 1 || !HOST.test(host) || !path.startsWith('/')) return undefined;
  const url = `https://${host}${path}`;
  if (!URL.canParse(url)) return undefined;
  const method = incoming.method ?? 'GET';
  const sent = incoming.headers['transfer-encoding'] !== undefined || Number(incoming.headers['content-length']) > 0;
  const body = sent && method !== 'GET' && method !== 'HEAD' ? Readable.toWeb(incoming) : null;
  try {
    return new Request(url, { method, headers, signal, body, duplex: 'half' } as RequestInit);
  } catch {
    // A method that fetch forbids (CONNECT, TRACE).
    return undefined;
  }
}

/** Sends a response as it comes: the headers at once, each piece when it is there. */
export async function send(response: Response, outgoing: ServerResponse): Promise<void> {
  const headers = [...response.headers].flat();
  outgoing.writeHead(response.status, response.statusText, headers);
  outgoing.flushHeaders();
  if (!response.body || outgoing.req.method === 'HEAD') return void outgoing.end();
  const body = Readable.fromWeb(response.body as ReadableStream);
  // A browser that leaves, or an instance that breaks off: the other side must see it as cut, not as complete.
  outgoing.on('close', () => body.destroy());
  body.on('error', () => outgoing.destroy());
  body.pipe(outgoing);
}
