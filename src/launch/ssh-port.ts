import { connect } from 'node:net';
import pMap from 'p-map';
import { SSH_PORTS } from '../contract/box.ts';

/** Connections at once: the whole range of 12,768 ports in about a minute where every one has to time out. */
const AT_ONCE = 400;
/** Milliseconds; across a continent an answer takes a tenth of that. The firewall of a box drops, so that most time out. */
const WAIT_MS = 2000;

/**
 * The first port of the box's range, by time, on which SSH answers; nothing else listens on a box that has just booted. For
 * our own machine only, by the address that the cloud's API named: the box draws its port at first boot, and Hetzner shows
 * no console by its API.
 */
export async function findSshPort(address: string): Promise<number | undefined> {
  const count = SSH_PORTS.last - SSH_PORTS.first + 1;
  const ports = Array.from({ length: count }, (_, index) => SSH_PORTS.first + index);
  let found: number | undefined;
  await pMap(
    ports,
    async (port) => {
      // Those that are on their way end by themselves.
      if (found === undefined && (await speaksSsh(address, port))) found ??= port;
    },
    { concurrency: AT_ONCE },
  );
  return found;
}

/** Whether a server on the port begins as SSH does (RFC 4253, 4.2). */
function speaksSsh(address: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port });
    const end = (open: boolean) => {
      socket.destroy();
      resolve(open);
    };
    socket.setTimeout(WAIT_MS, () => end(false));
    socket.once('error', () => end(false));
    socket.once('data', (data) => end(data.toString('latin1').startsWith('SSH-')));
  });
}
