import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';

interface Place {
  host: string;
  port: number;
}

/** Passes connections on, byte by byte. @param at port 0: any. */
export async function forward(at: Place, to: Place): Promise<{ port: number; close: () => void }> {
  const server = createServer((socket) => {
    const other = connect(to.port, to.host);
    socket.on('error', () => other.destroy());
    other.on('error', () => socket.destroy());
    socket.pipe(other).pipe(socket);
  });
  server.listen(at.port, at.host);
  await once(server, 'listening');
  return { port: (server.address() as AddressInfo).port, close: () => void server.close() };
}
