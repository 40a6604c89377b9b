import { existsSync, readFileSync } from 'node:fs';
import { inputError } from '../process/errors.ts';
import { run, shellQuote } from '../process/run.ts';

/** Where QEMU's user network shows the host to its guest (QEMU documentation, "Network emulation"). */
const HOST_SEEN_BY_GUEST = '10.0.2.2';

const LOOPBACK = /^(localhost|127(\.\d+){3}|\[::1\])$/;

/** What a guest needs to reach what this machine reaches: it is read from this machine's own configuration. */
export interface GuestNetwork {
  /** npm's registry, ends in a slash. */
  registry: string;
  /** `http_proxy` and the like, by name. */
  proxies: Record<string, string>;
  /** CA certificates that this machine trusts beside the public ones, PEM. */
  ca?: string;
}

/**
 * A URL as the guest must write it: the host's loopback is not the guest's.
 * @throws BuildError (input) for one with a user or password: they would lie on the guest's disk and in logs.
 */
export function seenByGuest(url: string): string {
  const seen = new URL(url);
  if (seen.username || seen.password) {
    const remedy = 'name a proxy or registry that needs none (one of your own may hold them), or run --only ours';
    throw inputError('bench', `${seen.protocol}//${seen.host}: a password isn't given to the guest`, remedy);
  }
  if (!LOOPBACK.test(seen.hostname)) return url;
  seen.hostname = HOST_SEEN_BY_GUEST;
  return seen.href;
}

/**
 * Reads the registry and CAs from npm's configuration and the environment, and proxies from the environment, else
 * apt's. Credentials aren't handed over.
 * @throws BuildError (input) where a URL holds some.
 */
export async function guestNetwork(root: string): Promise<GuestNetwork> {
  const npm = async (key: string) => {
    const { stdout } = await run('npm', ['config', 'get', key], { step: 'network', cwd: root });
    return stdout.trim();
  };
  const registry = seenByGuest((await npm('registry')).replace(/\/*$/, '/'));
  const ca = [await npm('cafile'), process.env.NODE_EXTRA_CA_CERTS, process.env.SSL_CERT_FILE].find(
    (file) => file && file !== 'null' && existsSync(file),
  );
  const proxies = { ...(await aptProxies()), ...environmentProxies(process.env) };
  return { registry, proxies, ...(ca ? { ca: readFileSync(ca, 'utf8') } : {}) };
}

/** Proxies that apt has and the environment may not. */
async function aptProxies(): Promise<Record<string, string>> {
  const keys = ['http_proxy', 'Acquire::http::Proxy', 'https_proxy', 'Acquire::https::Proxy'];
  const { stdout } = await run('apt-config', ['shell', ...keys], { step: 'network' });
  const found = [...stdout.matchAll(/^(\w+)='(.+)'$/gm)].map(([, name = '', value = '']) => [name, value]);
  return environmentProxies(Object.fromEntries(found));
}

/** The variables that curl, apt and npm know, as the guest must have them. */
export function environmentProxies(env: Record<string, string | undefined>): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of ['http_proxy', 'https_proxy', 'no_proxy']) {
    const value = env[name] || env[name.toUpperCase()];
    // apt's DIRECT means none.
    if (!value || value === 'DIRECT') continue;
    found[name] = name === 'no_proxy' ? value : seenByGuest(value.includes('://') ? value : `http://${value}`);
  }
  return found;
}

/**
 * The assignments that the template sources in the guest.
 * @param own further variables, by name, which the template reads itself.
 */
export function settings(network: GuestNetwork, own: Record<string, string>): string {
  const exported = {
    ...network.proxies,
    npm_config_registry: network.registry,
    ...(network.ca ? { NODE_EXTRA_CA_CERTS: '/tmp/payload/ca.pem', CURL_CA_BUNDLE: '/tmp/payload/ca.pem' } : {}),
  };
  return [
    ...Object.entries(exported).map(([name, value]) => `export ${name}=${shellQuote(value)}\n`),
    ...Object.entries(own).map(([name, value]) => `${name}=${shellQuote(value)}\n`),
  ].join('');
}
