import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { serve } from '../../layers/06-cloudflare/edge/node/serve.ts';
import { nodeSettingsSchema } from '../../layers/06-cloudflare/edge/node/settings.ts';
import { bundleWorker, COMPATIBILITY_DATE } from '../../src/edge/bundle.ts';
import { start } from '../../src/process/run.ts';
import { MODES, type Mode, type Started, type World } from './world.ts';

const ROOT = join(import.meta.dirname, '../..');
const WORKERD = join(ROOT, 'node_modules/@cloudflare/workerd-linux-64/bin/workerd');

/** In which the gate is told what Cloudflare would be: workerd itself resolves nothing otherwise. */
export const CF_BLOB = 'X-Cf-Blob';

/** Milliseconds until workerd listens. */
const START_MS = 20_000;

export async function startNode(world: World): Promise<Started> {
  // The issuer's certificate, for fetch, which has no other way to be told.
  setDefaultCACertificates([...getCACertificates(), world.tls.issuer.certificate]);
  const lines: string[] = [];
  const secrets = join(world.work, 'secrets.json');
  writeFileSync(secrets, JSON.stringify(world.secrets), { mode: 0o600 });
  const state = (mode: Mode) => join(world.work, mode);
  const servers = await Promise.all(
    MODES.map((mode) => {
      const { edge, client } = world.tls;
      const listen = { host: '127.0.0.1', port: world.ports[mode] };
      const files = { tls: edge.files, client: client.files, state: state(mode), secrets };
      const settings = nodeSettingsSchema.parse({ ...files, listen, edge: world.config(mode) });
      return serve(settings, (event, facts) => lines.push(JSON.stringify({ event, ...facts })));
    }),
  );
  return {
    logs: () => lines.join('\n'),
    tamper: async (entry) =>
      writeFileSync(join(state('access'), 'registry', `${entry.slug}.json`), JSON.stringify(entry)),
    close: async () => {
      await Promise.all(servers.map((server) => server.close()));
    },
  };
}

/** On disk: an object that nobody has asked for ten seconds is put away, and has to come back as it was. */
const objectsOf = (world: World) => join(world.work, 'objects');

const text = (value: unknown) => JSON.stringify(typeof value === 'string' ? value : JSON.stringify(value));

/** Mode access with KV, mode oidc with Durable Objects: https://github.com/cloudflare/workerd, src/workerd/server/workerd.capnp. */
function capnp(world: World, kvPort: number, bare: number | undefined): string {
  const { edge, client, gate, issuer } = world.tls;
  const keypair = ({ key, certificate }: typeof edge) =>
    `(privateKey = ${text(key)}, certificateChain = ${text(certificate)})`;
  const worker = (mode: Mode, bindings: string) => `(
    modules = [(name = "worker.js", esModule = embed "worker.js")],
    compatibilityDate = "${COMPATIBILITY_DATE}",
    globalOutbound = "internet",
    durableObjectNamespaces = [(className = "RegistryObject", uniqueKey = "registry"), (className = "SpentObject", uniqueKey = "spent")],
    durableObjectStorage = (localDisk = "objects"),
    bindings = [
      (name = "CONFIG", text = ${text(world.config(mode))}),
      (name = "SECRETS", text = ${text(world.secrets)}),
      (name = "ORIGIN", service = "gate"), ${bindings}])`;
  const objects = `(name = "REGISTRY", durableObjectNamespace = "RegistryObject"), (name = "SPENT", durableObjectNamespace = "SpentObject")`;
  const socket = (name: string, port: number) =>
    `(name = "${name}", address = "127.0.0.1:${port}", https = (tlsOptions = (keypair = ${keypair(edge)})), service = "${name}")`;
  // What passes on and does nothing more, for figures to be held against.
  const plain = `(name = "bare", worker = (
    modules = [(name = "bare.js", esModule = "export default { fetch: (request, env) => env.ORIGIN.fetch(request) };")],
    compatibilityDate = "${COMPATIBILITY_DATE}", bindings = [(name = "ORIGIN", service = "gate")])),`;
  const sockets = MODES.map((mode) => socket(mode, world.ports[mode]));
  if (bare) sockets.push(socket('bare', bare));
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [${bare ? plain : ''}
    (name = "access", worker = ${worker('access', `(name = "KV", kvNamespace = "kv")`)}),
    (name = "oidc", worker = ${worker('oidc', objects)}),
    (name = "internet", network = (allow = ["local", "private", "public"], tlsOptions = (trustedCertificates = [${text(issuer.certificate)}]))),
    (name = "objects", disk = (path = ${text(objectsOf(world))}, writable = true)),
    (name = "kv", external = (address = "127.0.0.1:${kvPort}", http = ())),
    (name = "gate", external = (address = "127.0.0.1:${world.gate.port}", https = (options = (cfBlobHeader = "${CF_BLOB}"), certificateHost = "gate.test",
      tlsOptions = (keypair = ${keypair(client)}, trustedCertificates = [${text(gate.certificate)}]))))
  ],
  sockets = [${sockets.join(', ')}]
);
`;
}

/** What workerd's KV binding asks: GET and PUT of `/<key>`. */
async function startKv() {
  const values = new Map<string, string>();
  const server = createServer(async (request, response) => {
    const key = decodeURIComponent(new URL(request.url ?? '', 'http://kv').pathname.slice(1));
    if (request.method === 'PUT') {
      let value = '';
      for await (const part of request) value += part;
      values.set(key, value);
      return response.end();
    }
    const value = values.get(key);
    return value === undefined ? response.writeHead(404).end() : response.end(value);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { values, server, port: (server.address() as AddressInfo).port };
}

/** @param bare a port for a Worker that passes on and does nothing more. */
export async function startWorkerd(world: World, bare?: number): Promise<Started> {
  const folder = join(world.work, 'workerd');
  mkdirSync(folder);
  mkdirSync(objectsOf(world));
  await bundleWorker(ROOT, join(folder, 'worker.js'));
  const kv = await startKv();
  writeFileSync(join(folder, 'config.capnp'), capnp(world, kv.port, bare));
  const log = join(folder, 'log');
  const child = start(WORKERD, ['serve', 'config.capnp'], {
    ...{ cwd: folder, stdin: 'ignore', stdout: { file: log }, stderr: { file: log, append: true }, buffer: false },
  });
  let ended = false;
  child.finally(() => (ended = true)).catch(() => {});
  const logs = () => readFileSync(log, 'utf8');
  const close = async () => {
    child.kill('SIGTERM');
    await child.catch(() => {});
    kv.server.closeAllConnections();
    kv.server.close();
  };
  const end = Date.now() + START_MS;
  for (const mode of MODES) {
    while (!(await listens(world.ports[mode]))) {
      if (Date.now() > end || ended) {
        await close();
        throw new Error(`workerd doesn't listen:\n${logs()}`);
      }
      await sleep(100);
    }
  }
  return {
    logs,
    tamper: async (entry) => void kv.values.set(`instance:${entry.slug}`, JSON.stringify(entry)),
    close,
  };
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}
