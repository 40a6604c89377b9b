/** A Worker's WebSockets as the core has them. */
import type { Accept, Connected, Socket } from '../core/runtime.ts';
import type { WorkerResponse, WorkerSocket } from './bindings.ts';

declare const WebSocketPair: new () => { 0: WorkerSocket; 1: WorkerSocket };

export function socketOf(socket: WorkerSocket): Socket {
  return {
    send: (data) => attempt(() => socket.send(data)),
    close: (code, reason) => attempt(() => socket.close(code, reason)),
    listen(on) {
      // Newer compatibility dates would hand out Blobs.
      socket.binaryType = 'arraybuffer';
      socket.addEventListener('message', ({ data }) => on.message(data));
      socket.addEventListener('close', ({ code, reason }) => on.close(code, reason));
      socket.addEventListener('error', () => on.close(1006, ''));
      socket.accept();
    },
  };
}

/** A side that is gone already throws; its close event says so too. */
function attempt(body: () => void): void {
  try {
    body();
  } catch {}
}

/** @param answer of an instance, to an upgrade. */
export function connectedBy(answer: WorkerResponse): Connected {
  if (!answer.webSocket) return { refusal: answer };
  return { socket: socketOf(answer.webSocket), protocol: answer.headers.get('sec-websocket-protocol') ?? '' };
}

export const accept: Accept = (protocol) => {
  const { 0: browser, 1: ours } = new WebSocketPair();
  const headers = new Headers(protocol ? { 'sec-websocket-protocol': protocol } : {});
  const init = { status: 101, webSocket: browser, headers };
  return { socket: socketOf(ours), response: new Response(null, init as ResponseInit) };
};
