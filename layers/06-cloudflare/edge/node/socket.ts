import type { WebSocket } from 'ws';
import type { Socket } from '../core/runtime.ts';

/** A `ws` socket as the core knows one; what comes before somebody listens waits. */
export function socketOf(socket: WebSocket): Socket {
  const waiting: (string | ArrayBuffer)[] = [];
  let take: ((data: string | ArrayBuffer) => void) | undefined;
  socket.binaryType = 'arraybuffer';
  socket.on('message', (data, isBinary) => {
    const one = isBinary ? (data as ArrayBuffer) : Buffer.from(data as ArrayBuffer).toString();
    if (take) take(one);
    else waiting.push(one);
  });
  return {
    send: (data) => socket.send(data),
    close: (code, reason) => socket.close(code, reason),
    onMessage: (to) => {
      take = to;
      for (const one of waiting.splice(0)) to(one);
    },
    onClose: (to) => {
      socket.on('close', (code, reason) => to(code, reason.toString()));
    },
  };
}
