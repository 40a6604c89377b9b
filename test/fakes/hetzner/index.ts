import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import type { z } from 'zod';
import type { FakeCloud, Fault, Hypervisor } from '../fake.ts';
import type { FailAction } from './actions.ts';
import { type Call, callOf, callsOf, type Reply } from './calls.ts';
import { sha256Of } from './disks.ts';
import { invalid, notFound, Refusal } from './errors.ts';
import type { RescueHost } from './host.ts';
import { Machines } from './machines.ts';
import { Project } from './project.ts';
import { REQUESTS } from './requests.ts';

export { RescueHost } from './host.ts';
export { whyNoLoop } from './loop.ts';
export type { NetworkedMachine } from './machines.ts';

export interface HetznerOptions {
  /** Runs snapshots; without it a booted snapshot is silent. */
  hypervisor?: Hypervisor;
  /** Folder of the image whose tree the rescue system's container is made of; without one nothing answers by SSH. */
  imageDir?: string;
  /** A container that outlives this fake, instead of one of its own. */
  host?: RescueHost;
  /** Milliseconds that each action takes. */
  actionMs?: number;
  /**
   * Bytes that a GB of a server's disk has; 40 of them are the smallest. Default 4 MiB, so that whoever reads a whole
   * disk is soon done; 1e9 for real images.
   */
  gigabyte?: number;
}

export interface FakeHetzner extends FakeCloud {
  /** Names of all there is: `server NAME`, `ssh-key NAME`, `firewall NAME`, `snapshot ID`. */
  live(): string[];
  /** Labels of a snapshot. */
  labels(image: string | number): Record<string, string>;
  /** SHA-256 of the first `size` bytes of a snapshot's disk, lower-case hex. */
  snapshotSha256(image: string | number, size: number): Promise<string>;
  /** Fails an action by its command: create_server, start_server, enable_rescue, create_image, … */
  failAction: FailAction | undefined;
  /** Whether machines take no notice when they are asked to switch themselves off. */
  deaf: boolean;
  /** Milliseconds for which a firewall is in use by a server that is gone. */
  firewallLagMs: number;
  /** The token, and every password that an answer held: no output of ours may have any of them. */
  secrets(): string[];
}

/** Starts a stateful Hetzner Cloud API on loopback. It knows the description's rules, and nothing of our code. */
export async function startFakeHetzner(options: HetznerOptions = {}): Promise<FakeHetzner> {
  const machines = new Machines(options);
  const project = new Project(machines, {
    actionMs: options.actionMs ?? 60,
    gigabyte: options.gigabyte ?? 4 * 1024 * 1024,
  });
  const handlers = callsOf(project);
  const token = randomBytes(32).toString('hex');
  let remaining = 3600;
  let asked = 0;

  const http = createServer((request, response) => {
    serve(request, response).catch((error) => {
      // The fake's own bug; the client sees that it isn't the API's answer.
      response.writeHead(500).end(String(error?.stack ?? error));
    });
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');

  const fake: FakeHetzner = {
    env: {
      HCLOUD_TOKEN: token,
      HCLOUD_ENDPOINT: `http://127.0.0.1:${(http.address() as AddressInfo).port}/v1`,
      // Not as patient as with the real one.
      HCLOUD_POLL_INTERVAL: '20ms',
    },
    calls: [],
    onCall: undefined,
    fault: undefined,
    get failAction() {
      return project.actions.failing;
    },
    set failAction(fail) {
      project.actions.failing = fail;
    },
    get deaf() {
      return project.deaf;
    },
    set deaf(deaf) {
      project.deaf = deaf;
    },
    get firewallLagMs() {
      return project.firewalls.lagMs;
    },
    set firewallLagMs(ms) {
      project.firewalls.lagMs = ms;
    },
    live: () => [
      ...[...project.servers.values()].map(({ name }) => `server ${name}`),
      ...[...project.sshKeys.values()].map(({ name }) => `ssh-key ${name}`),
      ...[...project.firewalls.all.values()].map(({ name }) => `firewall ${name}`),
      ...[...project.images.values()].filter(({ type }) => type === 'snapshot').map(({ id }) => `snapshot ${id}`),
    ],
    labels: (id) => ({ ...project.one(project.images, Number(id), 'image').labels }),
    snapshotSha256: async (id, size) => {
      const { file } = project.one(project.images, Number(id), 'image');
      if (!file) throw notFound(`bytes of image ${id}`);
      return sha256Of(file, size);
    },
    secrets: () => [token, ...project.secrets],
    close: async () => {
      http.closeAllConnections();
      http.close();
      await project.close();
      await machines.close();
    },
  };

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '', 'http://fake');
    const path = url.pathname.replace(/^\/v1/, '');
    const found = url.pathname.startsWith('/v1/') ? callOf(request.method ?? '', path) : undefined;
    const name = found?.name ?? `${request.method} ${path}`;
    const fault = fake.fault?.(name, asked++);
    if (fault && !('after' in fault && fault.after)) return misbehave(fault, request, response);
    const reply = await answer(request, url, found);
    const index = fake.calls.push(name) - 1;
    await fake.onCall?.(name, index);
    if (fault) request.socket.destroy();
    else send(response, reply);
  }

  async function answer(request: IncomingMessage, url: URL, found: ReturnType<typeof callOf>): Promise<Reply> {
    try {
      if (request.headers.authorization !== `Bearer ${token}`)
        throw new Refusal(401, 'unauthorized', 'unable to authenticate');
      if (!found) throw notFound('this path');
      const { query, body } = REQUESTS[found.name] as { query?: z.ZodType; body?: z.ZodType };
      const call: Call = {
        id: found.id,
        query: checked(query, queryOf(url), 'query'),
        body: checked(body, await bodyOf(request), 'body'),
      };
      return await handlers[found.name](call);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const { code, message, details, status } = error;
      return { status, body: { error: { code, message, details } } };
    }
  }

  function send(response: ServerResponse, { status, body }: Reply): void {
    remaining--;
    response.writeHead(status, {
      // Hetzner's own client reads what says that it is JSON, and there is none in a 204.
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      'ratelimit-limit': '3600',
      'ratelimit-remaining': String(remaining),
      'ratelimit-reset': String(Math.ceil(Date.now() / 1000) + (3600 - remaining)),
    });
    response.end(body === undefined ? undefined : JSON.stringify(body));
  }

  return fake;
}

/** @throws Refusal in the API's form, with the members that are wrong. */
function checked(schema: z.ZodType | undefined, value: Record<string, unknown>, what: string): unknown {
  if (!schema) {
    if (Object.keys(value).length > 0) throw invalid(`this call takes no ${what}`);
    return {};
  }
  const { data, error } = schema.safeParse(value);
  if (!error) return data;
  const fields = error.issues.map(({ path, message }) => ({ name: path.join('.'), messages: [message] }));
  const names = error.issues.map(({ path, message }) => `${path.join('.')} ${message}`).join('; ');
  throw invalid(`invalid input in ${what}: ${names}`, { fields });
}

function queryOf({ searchParams }: URL): Record<string, unknown> {
  return Object.fromEntries(
    [...new Set(searchParams.keys())].map((key) => {
      const all = searchParams.getAll(key);
      return [key, all.length === 1 ? all[0] : all];
    }),
  );
}

async function bodyOf(request: IncomingMessage): Promise<Record<string, unknown>> {
  if (request.headers['content-length'] === undefined && request.headers['transfer-encoding'] === undefined) return {};
  if (request.headers['content-length'] === '0') return {};
  let body: unknown;
  try {
    body = await json(request);
  } catch {
    throw new Refusal(400, 'json_error', 'invalid JSON in request');
  }
  if (typeof body !== 'object' || body === null || Array.isArray(body)) throw invalid('the body is no object');
  return body as Record<string, unknown>;
}

function misbehave(fault: Fault, request: IncomingMessage, response: ServerResponse): void {
  if (fault.kind === 'reset') request.socket.destroy();
  else if (fault.kind === 'raw') response.writeHead(fault.status, fault.headers ?? {}).end(fault.body);
  else if (fault.kind === 'error') {
    const { status, code, message } = fault;
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ error: { code, message, details: null } }));
  }
}
