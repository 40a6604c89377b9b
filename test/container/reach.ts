import type { Peer } from '../../src/verify/targets/target.ts';

/** ok, refused or timeout, as a peer sees a TCP port. */
export async function reach(from: Peer, address: string, port: string | number): Promise<string> {
  const script = `
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)
    print("ok")
except ConnectionRefusedError:
    print("refused")
except TimeoutError:
    print("timeout")`;
  const { stdout, stderr } = await from.exec(`python3 -Ic '${script}' ${address} ${port}`);
  return stdout.trim() || stderr;
}
