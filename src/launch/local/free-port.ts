import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';

/** A free port of loopback, held until `release`, so that no other launch is given it meanwhile. */
export async function holdPort(): Promise<{ port: number; release: () => Promise<void> }> {
  const server = createServer((socket) => socket.destroy());
  server.listen(0, '127.0.0.1').unref();
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    release: async () => {
      server.close();
      await once(server, 'close');
    },
  };
}
