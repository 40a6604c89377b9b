import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { serve } from '../../layers/06-cloudflare/edge/node/serve.ts';
import { bundleWorker, COMPATIBILITY_DATE } from '../../layers/06-cloudflare/edge/worker/bundle.ts';
import type { EdgeConfig, EdgeSecrets } from '../../src/contract/edge.ts';
import { start } from '../../src/process/run.ts';

export type Place = 'worker' | 'node';

/**
 * Starts an auth proxy in one of its two places. @param work has site.{crt,key}, client.{crt,key} and gate.crt. @returns how to end it.
 */
export const startProxy = (place: Place, ...rest: Parameters<Started>) =>
  (place === 'node' ? startNode : startWorker)(...rest);

/** Beside it, a Worker that passes requests on and does nothing more: from this port to that origin. Of the Worker's place alone. */
interface Bare {
  port: number;
  origin: string;
}

type Started = (
  work: string,
  config: EdgeConfig,
  secrets: EdgeSecrets,
  log: (line: string) => void,
  bare?: Bare,
) => Promise<() => Promise<unknown>>;

const PASS = `export default {
  fetch(request, env) {
    const url = new URL(request.url);
    return fetch(new Request(\`https://\${env.ORIGIN}\${url.pathname}\${url.search}\`, request), { redirect: 'manual' });
  },
};
`;

const startNode: Started = async (work, config, secrets, log) => {
  const pair = (name: string) => ({
    certificate: readFileSync(join(work, `${name}.crt`), 'utf8'),
    key: readFileSync(join(work, `${name}.key`), 'utf8'),
  });
  const options = {
    config,
    secrets,
    tls: pair('site'),
    client: pair('client'),
    registry: join(work, 'registry'),
    address: '127.0.0.1',
    log,
  };
  return (await serve({ ...options, port: config.port })).close;
};

const socket = (
  name: string,
  port: number,
) => `(name = "${name}", address = "127.0.0.1:${port}", service = "${name}", https = (
    tlsOptions = (keypair = (privateKey = embed "site.key", certificateChain = embed "site.crt"))))`;

/** The very bundle that Cloudflare would get, in Cloudflare's own runtime. */
const startWorker: Started = async (work, config, secrets, log, bare) => {
  writeFileSync(join(work, 'worker.js'), await bundleWorker());
  writeFileSync(join(work, 'bare.js'), PASS);
  writeFileSync(join(work, 'config.json'), JSON.stringify(config));
  writeFileSync(join(work, 'secrets.json'), JSON.stringify(secrets));
  writeFileSync(
    join(work, 'workerd.capnp'),
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .main),
    (name = "network", network = (allow = ["public", "private", "local"], tlsOptions = (
      trustBrowserCas = false, trustedCertificates = [embed "gate.crt"],
      keypair = (privateKey = embed "client.key", certificateChain = embed "client.crt")))),
    (name = "disk", disk = (path = "${work}", writable = true)),${bare ? ' (name = "bare", worker = .bare),' : ''}
  ],
  sockets = [${socket('main', config.port)}${bare ? `, ${socket('bare', bare.port)}` : ''}],
);
const main :Workerd.Worker = (
  modules = [(name = "worker", esModule = embed "worker.js")],
  compatibilityDate = "${COMPATIBILITY_DATE}",
  bindings = [
    (name = "CLAWDY_CONFIG", text = embed "config.json"),
    (name = "CLAWDY_SECRETS", text = embed "secrets.json"),
    (name = "REGISTRY", durableObjectNamespace = "RegistryObject"),
  ],
  durableObjectNamespaces = [(className = "RegistryObject", uniqueKey = "registry")],
  durableObjectStorage = (localDisk = "disk"),
  globalOutbound = "network",
);
const bare :Workerd.Worker = (
  modules = [(name = "worker", esModule = embed "bare.js")],
  compatibilityDate = "${COMPATIBILITY_DATE}",
  bindings = [(name = "ORIGIN", text = "${bare?.origin ?? ''}")],
  globalOutbound = "network",
);
`,
  );
  const workerd = join(import.meta.dirname, '../../node_modules/@cloudflare/workerd-linux-64/bin/workerd');
  const child = start(workerd, ['serve', join(work, 'workerd.capnp')], { all: true, buffer: false });
  child.all?.on('data', (chunk) => log(String(chunk)));
  return async () => {
    child.kill('SIGTERM');
    await child;
  };
};

/** A site's certificate for both domains, and a CA whose certificate for clients the gate asks for. */
export function makeCertificates(work: string): void {
  const openssl = (...words: string[]) => execFileSync('openssl', words, { cwd: work, stdio: 'ignore' });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const self = (name: string, names: string) =>
    openssl(
      'req',
      '-x509',
      ...key,
      '-days',
      '2',
      '-subj',
      `/CN=${name}`,
      '-addext',
      `subjectAltName=${names}`,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.crt`,
    );
  self('site', 'DNS:ui.test,DNS:*.ui.test,DNS:*.apps.test');
  self('gate', 'DNS:localhost');
  self('ca', 'DNS:ca.invalid');
  // Version 3, as Cloudflare's runtime wants it.
  writeFileSync(join(work, 'client.ext'), 'basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n');
  openssl('req', ...key, '-subj', '/CN=proxy', '-keyout', 'client.key', '-out', 'client.csr');
  openssl(
    'x509',
    '-req',
    '-in',
    'client.csr',
    '-CA',
    'ca.crt',
    '-CAkey',
    'ca.key',
    '-CAcreateserial',
    '-days',
    '2',
    '-extfile',
    'client.ext',
    '-out',
    'client.crt',
  );
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
