/** `ws` sockets as the core has them. */
import type WebSocket from 'ws';
import type { Socket } from '../core/runtime.ts';

/** Bytes; what Cloudflare takes too (https://developers.cloudflare.com/workers/platform/limits/). */
export const LARGEST_MESSAGE = 32 * 1024 * 1024;

/** @param socket paused, if it is one that could speak first. */
export function socketOf(socket: WebSocket): Socket {
  return {
    send(data) {
      // A side that doesn't read mustn't fill our memory with what the other sends.
      if (socket.bufferedAmount > LARGEST_MESSAGE) socket.terminate();
      else if (socket.readyState === socket.OPEN) socket.send(data);
    },
    close(code, reason) {
      // Where the handshake of closing doesn't end, `ws` ends the connection after 30 s.
      if (code === undefined) socket.close();
      else socket.close(code, reason);
    },
    listen(on) {
      socket.on('message', (data: Buffer, binary: boolean) =>
        on.message(binary ? bytesOf(data) : data.toString('utf8')),
      );
      socket.on('close', (code: number, reason: Buffer) => on.close(code, reason.toString('utf8')));
      socket.on('error', () => on.close(1006, ''));
      socket.resume();
    },
  };
}

/** Buffers are windows into a pool. */
function bytesOf(data: Buffer): ArrayBuffer {
  return data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength) as ArrayBuffer;
}
