import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Owner } from '../../src/verify/owner.ts';
import { waitForLine } from '../../src/verify/stages/ready.ts';
import type { ContainerTarget } from '../../src/verify/targets/container.ts';
import { ROOT, userData } from '../image.ts';
import { keys, peer, withBox } from './boxes.ts';

// Mode tunnel with a connector in cloudflared's place (connector.py), in cloudflared's unit; the peer is Cloudflare's edge.

export const CLOUDFLARED = '/usr/lib/clawdy/tunnel/cloudflared';
export const STAND_IN = { source: join(import.meta.dirname, 'connector.py'), target: '/var/tmp/connector' };
export const FOLDER = '/run/clawdy-tunnel';
export const SOCKET = `${FOLDER}/gate.sock`;
const SCRIPT = '/var/tmp/ask-gate';
export const CONNECT = '/var/tmp/connect';

export const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64');
export const SECRET = Buffer.from('a secret of the tunnel that nobody may find').toString('base64');
export const PARTS = { a: '0123456789abcdef'.repeat(2), t: '6f1c1e5a-0b7d-4c58-9f43-0d4b8e7a2c11', s: SECRET };
export const TOKEN = encode(PARTS);

interface Said {
  ok: boolean;
  result?: Record<string, unknown>;
  error?: string;
}

/** One request by the socket that sshd's relay uses; test/container/ops.test.ts goes the whole way. */
export async function ask(box: ContainerTarget, verb: string, args: Record<string, unknown>): Promise<Said> {
  const relay = 'setpriv --reuid=7863 --regid=7863 --clear-groups /usr/lib/clawdy/ops/relay';
  const { stdout } = await box.exec(`echo ${encode({ verb, args })} | base64 -d | ${relay}`);
  return JSON.parse(stdout);
}

export async function status(box: ContainerTarget): Promise<Record<string, unknown>> {
  return JSON.parse((await ask(box, 'status', {})).result?.body as string);
}

/** Waits for what is to come, and gives what there was at the end. */
export async function comes<T>(get: () => Promise<T>, wanted: (value: T) => boolean, limitMs = 60_000): Promise<T> {
  for (const end = Date.now() + limitMs; ; await sleep(500)) {
    const value = await get();
    if (wanted(value) || Date.now() > end) return value;
  }
}

export async function boot(name: string, spoil: string, body: (box: ContainerTarget) => Promise<void>): Promise<void> {
  const owner = await Owner.create({ mode: 'tunnel' });
  const launch = { ...owner.launch, launchId: name, userKeys: [keys.one] };
  const options = { instanceId: `i-${name}`, userData: userData(launch), spoil };
  await withBox(
    options,
    async (box) => {
      await owner.equip(peer, await waitForLine(box, /clawdy: bundle end/), name, `i-${name}`);
      await peer.put(SCRIPT, readFileSync(join(ROOT, 'test/attacks/gate')), '0755');
      for (const actor of [peer, box])
        await actor.put(CONNECT, readFileSync(join(ROOT, 'test/attacks/connect')), '0755');
      await body(box);
    },
    STAND_IN,
  );
}

export const outcome = (stdout: string, stderr: string) => /^outcome: (\S+)/m.exec(stdout)?.[1] ?? `broke: ${stderr}`;

/** A request of a visitor's that comes to Cloudflare, and by the connector to a service on the box. */
export async function visit(args: string, service = `unix:${SOCKET}`): Promise<string> {
  const { stdout, stderr } = await peer.exec(`${SCRIPT} --service ${service} ${args}`);
  return outcome(stdout, stderr);
}
export const VISITOR = '--header CF-Connecting-IP:203.0.113.5';

export const as = (uid: number) => `setpriv --reuid=${uid} --regid=${uid} --clear-groups`;

/** A connection from the box itself, by a uid. */
export async function connects(box: ContainerTarget, uid: number, words: string): Promise<string> {
  const { stdout, stderr } = await box.exec(`${as(uid)} ${CONNECT} ${words}`);
  return outcome(stdout, stderr);
}

/** What a uid gets that opens a unix socket. */
export async function opens(box: ContainerTarget, uid: number, path: string): Promise<string> {
  const script = `import socket; socket.socket(socket.AF_UNIX).connect("${path}"); print("ok")`;
  const { stdout, stderr } = await box.exec(`${as(uid)} python3 -Ic '${script}'`);
  return stdout.trim() || (stderr.trim().split('\n').at(-1)?.split(':')[0] ?? '');
}

/** On the peer: by TCP and UDP a port that is no edge's, and by UDP the edge's. */
export const SERVE = 'setsid python3 -Im http.server 8123 </dev/null >/dev/null 2>&1 &';
export const ECHO = `for port in 7844 8123; do setsid python3 -Ic '
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", int(sys.argv[1])))
while True:
    server.sendto(*server.recvfrom(2000))
' $port </dev/null >/dev/null 2>&1 & done`;
export const ASK_UDP = `
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.settimeout(5)
    try:
        client.connect((sys.argv[1], int(sys.argv[2])))
        client.send(b"x")
        client.recv(10)
        print("ok")
    except OSError as error:
        print(type(error).__name__)
`;

export const AGENT = 7860;
export const CONNECTOR = 7864;
/** Two requests on one connection to the gate's socket, as the connector's uid: the second names no address. */
export const TWICE = `
import http.client, socket, sys
c = http.client.HTTPConnection("localhost")
c.sock = socket.socket(socket.AF_UNIX)
c.sock.connect("${SOCKET}")
for visitor in ("203.0.113.5", "::::"):
    c.request("GET", "/readyz", headers={"CF-Connecting-IP": visitor, "X-Clawdy-Code": sys.stdin.readline().strip()})
    answer = c.getresponse()
    print(answer.status)
    answer.read()
`;
