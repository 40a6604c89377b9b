import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { waitForLine } from '../../src/verify/stages/ready.ts';
import type { ContainerTarget } from '../../src/verify/targets/container.ts';
import { peer, READY, withBox, work } from './boxes.ts';

// The key proxy with a key, in front of a peer that plays OpenRouter by name, address and a certificate that it trusts.

const KEY = `sk-or-v1-${'0123456789abcdef'.repeat(4)}`;

/** Answers with the Authorization it got, and redirects one path. */
const SERVER = `
import http.server, json, ssl, sys
class Api(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        moved = self.path.endswith("/embeddings")
        body = json.dumps({"authorization": self.headers.get_all("authorization"), "host": self.headers["host"]}).encode()
        self.send_response(307 if moved else 200)
        if moved:
            self.send_header("location", "https://elsewhere.example/")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Api)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
`;

/** A certificate of its own CA for a name; both end on the peer. */
async function certify(name: string): Promise<string> {
  const [key, certificate] = [join(work, `${name}.key`), join(work, `${name}.crt`)];
  execFileSync(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
      ...['-subj', `/CN=${name}`, '-addext', `subjectAltName=DNS:${name}`, '-keyout', key, '-out', certificate],
    ],
    { stdio: 'ignore' },
  );
  await peer.put(`/var/tmp/${name}.key`, readFileSync(key), '0600');
  await peer.put(`/var/tmp/${name}.crt`, readFileSync(certificate), '0600');
  return readFileSync(certificate, 'utf8');
}

async function serve(name: string): Promise<void> {
  await peer.exec(`pkill -f '^python3 -I /var/tmp/openrouter.py' || :
setsid python3 -I /var/tmp/openrouter.py 443 /var/tmp/${name}.crt /var/tmp/${name}.key </dev/null >/dev/null 2>&1 & sleep 2`);
}

/** One request as the agent. */
async function ask(box: ContainerTarget, method: string, path: string): Promise<{ status: number; body: string }> {
  const script = `import urllib.request as u, urllib.error as e
request = u.Request("http://127.0.0.1:7862${path}", method="${method}", headers={"Authorization": "Bearer its-own"}${method === 'POST' ? ', data=b"{}"' : ''})
class Stay(u.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None
try:
    answer = u.build_opener(Stay).open(request, timeout=30)
except e.HTTPError as error:
    answer = error
print(answer.status, answer.read().decode())`;
  const { stdout, stderr } = await box.exec(`python3 -I -c '${script.replaceAll("'", "'\\''")}'`, { as: 'agent' });
  const [status, ...body] = stdout.trim().split(' ');
  return { status: Number(status), body: body.join(' ') || stderr };
}

test.serial(
  'the agent uses the key through its proxy, for what is allowed, with OpenRouter alone, and never sees it',
  async (t) => {
    await peer.put('/var/tmp/openrouter.py', SERVER, '0644');
    const trusted = await certify('openrouter.ai');
    const other = await certify('other.example');
    await withBox({}, async (box) => {
      await waitForLine(box, READY);
      const chat = '/api/v1/chat/completions';
      const none = await ask(box, 'POST', chat);
      t.is(none.status, 401);
      t.regex(none.body, /No OpenRouter key is set/);

      await box.put('/var/lib/clawdy/state/keys/openrouter', `${KEY}\n`, '0600');
      await box.put('/var/tmp/ca.crt', trusted + other, '0600');
      // The peer's address is a private one, which the proxy's uid may not reach.
      const blocked = `${(await box.exec('nft list chain inet clawdy_keys keys')).stdout}`;
      t.regex(blocked, /10\.0\.0\.0\/8/);
      await box.exec(`cat /var/tmp/ca.crt >>/etc/ssl/certs/ca-certificates.crt
printf '%s openrouter.ai\n' ${peer.addresses.v4} >>/etc/hosts
printf 'nameserver 127.0.0.53\n' >/etc/resolv.conf
systemctl restart systemd-resolved.service clawdy-keys.service && sleep 3`);
      await serve('openrouter.ai');
      t.is((await ask(box, 'POST', chat)).status, 503);
      // Put there by hand, it is encrypted and gone.
      t.is((await box.exec('ls /var/lib/clawdy/state/keys')).stdout, 'instance.pem\ninstance.pub\nopenrouter.cred\n');
      await box.exec('nft insert rule inet clawdy_keys keys tcp dport 443 accept');

      const good = await ask(box, 'POST', chat);
      t.deepEqual(good, {
        status: 200,
        body: JSON.stringify({ authorization: [`Bearer ${KEY}`], host: 'openrouter.ai' })
          .replaceAll(/([:,])"/g, '$1 "')
          .replaceAll(':[', ': ['),
      });
      for (const [method, path] of [
        ['POST', '/api/v1/keys'],
        ['GET', '/api/v1/keys'],
        ['DELETE', '/api/v1/models'],
        ['POST', '/api/v1/chat/completions/../../keys'],
        ['GET', chat],
      ] as const) {
        t.is((await ask(box, method, path)).status, 403, `${method} ${path}`);
      }
      t.is((await ask(box, 'POST', '/api/v1/embeddings')).status, 502);

      // A certificate that is trusted and somebody else's.
      await serve('other.example');
      t.is((await ask(box, 'POST', chat)).status, 503);

      // A pattern that doesn't match itself: whoever looks stands in /proc too.
      const part = `[${KEY[6]}]${KEY.slice(7, 40)}`;
      const { stdout } = await box.exec(
        `journalctl --boot --no-pager | grep -c '${part}' || :; cat /proc/*/cmdline | tr '\\0' '\\n' | grep -c '${part}' || :`,
      );
      t.deepEqual(stdout.trim().split('\n'), ['0', '0']);
    });
  },
);
