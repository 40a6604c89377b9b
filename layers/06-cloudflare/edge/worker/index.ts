import { edgeConfigSchema, edgeSecretsSchema } from '../../../../src/contract/edge.ts';
import { handle } from '../core/handle.ts';
import type { Registry, Runtime, Socket } from '../core/runtime.ts';
import { kvRegistry, objectRegistry } from './registry.ts';

export { RegistryObject } from './registry.ts';

/** What the Worker is bound to: one of the two registries. */
interface Env {
  /** JSON: settings, and secrets. */
  CLAWDY_CONFIG: string;
  CLAWDY_SECRETS: string;
  REGISTRY?: DurableObjectNamespace;
  REGISTRY_KV?: KvNamespace;
}

let opened: Omit<Runtime, 'registry'> | undefined;

export default {
  fetch(request: Request, env: Env): Promise<Response> {
    opened ??= {
      config: edgeConfigSchema.parse(JSON.parse(env.CLAWDY_CONFIG)),
      secrets: edgeSecretsSchema.parse(JSON.parse(env.CLAWDY_SECRETS)),
      fetch: (entry, path, init) =>
        fetch(`https://${entry.origin}${path}`, { ...init, redirect: 'manual', cache: 'no-store' }),
      connect,
      accept,
      // biome-ignore lint/suspicious/noConsole: a Worker's log
      log: (line) => console.log(`clawdy-edge: ${line}`),
    };
    return handle({ ...opened, registry: registryOf(env) }, request);
  },
};

function registryOf({ REGISTRY, REGISTRY_KV }: Env): Registry {
  if (REGISTRY) return objectRegistry(REGISTRY);
  if (REGISTRY_KV) return kvRegistry(REGISTRY_KV);
  throw new Error('no registry is bound');
}

const connect: Runtime['connect'] = async (entry, path, headers) => {
  headers.set('upgrade', 'websocket');
  const answer = (await fetch(`https://${entry.origin}${path}`, { headers, redirect: 'manual' })) as Response & {
    webSocket?: WorkerSocket | null;
  };
  if (!answer.webSocket) return answer;
  answer.webSocket.accept();
  return { socket: socketOf(answer.webSocket), protocol: answer.headers.get('sec-websocket-protocol') };
};

const accept: Runtime['accept'] = (protocol, joined) => {
  const { 0: visitor, 1: ours } = new WebSocketPair();
  ours.accept();
  joined(socketOf(ours));
  const init = { status: 101, webSocket: visitor, headers: protocol ? { 'sec-websocket-protocol': protocol } : {} };
  return new Response(null, init as ResponseInit);
};

function socketOf(socket: WorkerSocket): Socket {
  // Else a Blob, which has to be waited for, and order would be lost.
  socket.binaryType = 'arraybuffer';
  return {
    send: (data) => socket.send(data),
    close: (code, reason) => {
      try {
        socket.close(code, reason);
      } catch {
        // It is closed already.
      }
    },
    onMessage: (take) => socket.addEventListener('message', ({ data }) => take(data)),
    onClose: (take) => {
      socket.addEventListener('close', ({ code, reason }) => take(code, reason));
      socket.addEventListener('error', () => take(1011, ''));
    },
  };
}
