import { SSH_PORTS } from '../../contract/box.ts';
import type { Target } from '../targets/target.ts';

/**
 * What a live box listens on, as `tcp 127.0.0.1:7860 openclaw`: for who compares two images. SSH's port is drawn by each instance,
 * so it is called `ssh`; ports that the kernel chose for a program are `any`.
 */
export async function listeningOn(target: Target): Promise<string[]> {
  const { stdout } = await target.exec('ss -Hltnup; cat /proc/sys/net/ipv4/ip_local_port_range');
  const lines = stdout.trimEnd().split('\n');
  const [first = 32_768, last = 60_999] = (lines.pop() ?? '').split(/\s+/).map(Number);
  return [...new Set(lines.map((line) => parsed(line, first, last)))].sort();
}

/** `tcp LISTEN 0 4096 127.0.0.1:7860 0.0.0.0:* users:(("openclaw",pid=1,fd=2))`, as ss(8) prints it. */
function parsed(line: string, first: number, last: number): string {
  const [protocol = '', , , , local = '', , users = ''] = line.split(/\s+/);
  const at = local.lastIndexOf(':');
  const port = Number(local.slice(at + 1));
  const isSsh = port >= SSH_PORTS.first && port <= SSH_PORTS.last;
  const named = isSsh ? 'ssh' : port >= first && port <= last ? 'any' : `${port}`;
  const who = /\(\("([^"]+)"/.exec(users)?.[1] ?? 'kernel';
  return `${protocol} ${local.slice(0, at)}:${named} ${who}`;
}
