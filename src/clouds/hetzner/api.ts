import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { BuildError } from '../../process/errors.ts';
import { retry } from '../retry.ts';
import type { HetznerClient } from './client.ts';
import { explain, HetznerError, hasCode, judge } from './errors.ts';
import {
  type Action,
  actionSchema,
  createdImageSchema,
  createdServerSchema,
  type Firewall,
  firewallSchema,
  type HetznerMachine,
  type Image,
  imageSchema,
  locationSchema,
  machineSchema,
  metaSchema,
  pricingSchema,
  type Server,
  type ServerType,
  type SshKey,
  serverListSchema,
  serverSchema,
  serverTypeSchema,
  sshKeySchema,
} from './schemas.ts';

export interface Tuning {
  /** Milliseconds between two looks at an action, at first; six times that later. Also the shortest pause before a retry. */
  pollMs: number;
  /** Milliseconds until an action, or what is retried, is given up. A snapshot of a full disk takes minutes. */
  limitMs: number;
}

/** What is asked for when a server is made; https://docs.hetzner.cloud/reference/cloud#servers-create-a-server */
export interface ServerRequest {
  name: string;
  server_type: string;
  image: string;
  location: string;
  labels: Record<string, string>;
  start_after_create: boolean;
  ssh_keys?: number[];
  firewalls?: { firewall: number }[];
  user_data?: string;
  public_net: { enable_ipv4: boolean; enable_ipv6: boolean };
}

/** https://docs.hetzner.cloud/reference/cloud#firewall-actions-set-rules */
export interface Rule {
  direction: 'in';
  protocol: 'tcp';
  /** `443`, or `20000-32767`. */
  port: string;
  source_ips: string[];
}

/** Most that a page may hold. */
const PER_PAGE = 50;

/**
 * Hetzner's API in typed calls, each answer checked. hcloud-js' own calls are taken where they work with today's API
 * (today.ts helps): servers.get, list and delete, power and rescue actions, actions.get, deletion of keys and images. The
 * rest is sent as it is, because hcloud-js knows no labels on images and keys, no next_actions, no start_after_create, no
 * architecture and no firewalls.
 */
export class HetznerApi {
  readonly #client: HetznerClient;
  readonly tuning: Tuning;

  constructor(client: HetznerClient, tuning: Tuning) {
    this.#client = client;
    this.tuning = tuning;
  }

  /** Runs calls again while errors.ts judges that it may help. @throws BuildError */
  call<T>(what: string, work: () => Promise<T>, detail?: (text: string) => void): Promise<T> {
    const { pollMs, limitMs } = this.tuning;
    const pauses = { minPauseMs: pollMs, maxPauseMs: pollMs * 40 };
    return retry(work, { what, judge, explain, limitMs, ...pauses, ...(detail ? { detail } : {}) });
  }

  /** Looks until `done` gives something. @throws BuildError when the limit is over. */
  async until<T>(what: string, done: () => Promise<T | undefined>, limitMs = this.tuning.limitMs): Promise<T> {
    const end = Date.now() + limitMs;
    for (let pause = this.tuning.pollMs; ; pause = Math.min(pause * 1.3, this.tuning.pollMs * 6)) {
      const found = await done();
      if (found !== undefined) return found;
      if (Date.now() > end)
        throw new BuildError('hetzner', `${what}: not done after ${Math.round(limitMs / 1000)} s`, 'try again');
      await sleep(pause);
    }
  }

  /** @throws HetznerError with the action's own code when it failed. */
  async wait(what: string, ...actions: Action[]): Promise<void> {
    for (const first of actions) {
      await this.until(what, async () => {
        const action =
          first.status === 'running'
            ? await this.call(what, async () => parse(actionSchema, await this.#client.library.actions.get(first.id)))
            : first;
        if (action.status === 'running') return undefined;
        if (action.status === 'success') return action;
        const { code = 'action_failed', message = 'the action failed' } = action.error ?? {};
        throw new HetznerError(code, message, 422);
      });
    }
  }

  async server(id: number): Promise<Server | undefined> {
    return unlessGone(async () => parse(serverSchema, await this.#client.library.servers.get(id)));
  }

  async servers(params: { labelSelector?: string; name?: string } = {}): Promise<Server[]> {
    const all: Server[] = [];
    for (let page: number | null | undefined = 1; page; ) {
      const list: unknown = await this.#client.library.servers.list({ ...params, page, perPage: PER_PAGE });
      const { servers, nextPage } = parse(serverListSchema, list);
      all.push(...servers);
      page = nextPage;
    }
    return all;
  }

  async createServer(data: ServerRequest): Promise<{ id: number; actions: Action[] }> {
    const answer = await this.#client.send('POST', '/servers', { data });
    const { server, action, next_actions } = parse(createdServerSchema, answer);
    return { id: server.id, actions: [action, ...next_actions] };
  }

  async deleteServer(id: number): Promise<void> {
    const action = await unlessGone(async () => parse(actionSchema, await this.#client.library.servers.delete(id)));
    if (action) await this.wait(`deleting server ${id}`, action);
  }

  /** All that was ever done to a server, by whomever. */
  serverActions(id: number): Promise<(Action & { command: string })[]> {
    return this.#all('actions', actionSchema.extend({ command: z.string() }), {}, `/servers/${id}/actions`);
  }

  async enableRescue(id: number, sshKey: number): Promise<Action> {
    const answer = await this.#client.library.servers.actions.enableRescue(id, 'linux64', [sshKey]);
    return parse(actionSchema, answer.action);
  }

  async powerOn(id: number): Promise<Action> {
    return parse(actionSchema, await this.#client.library.servers.actions.powerOn(id));
  }

  async powerOff(id: number): Promise<Action> {
    return parse(actionSchema, await this.#client.library.servers.actions.powerOff(id));
  }

  /** Asks the machine to switch itself off; whether it does, the action doesn't say. */
  async shutdown(id: number): Promise<Action> {
    return parse(actionSchema, await this.#client.library.servers.actions.shutdown(id));
  }

  async machine(id: number): Promise<HetznerMachine | undefined> {
    return unlessGone(async () => {
      const answer = await this.#client.send('GET', `/servers/${id}`);
      return parse(z.object({ server: machineSchema }), answer).server;
    });
  }

  machines(label_selector: string): Promise<HetznerMachine[]> {
    return this.#all('servers', machineSchema, { label_selector });
  }

  firewalls(label_selector: string): Promise<Firewall[]> {
    return this.#all('firewalls', firewallSchema, { label_selector });
  }

  async firewall(id: number): Promise<Firewall | undefined> {
    return unlessGone(async () => {
      const answer = await this.#client.send('GET', `/firewalls/${id}`);
      return parse(z.object({ firewall: firewallSchema }), answer).firewall;
    });
  }

  /** Without a rule: nobody comes in. */
  async createFirewall(name: string, labels: Record<string, string>): Promise<Firewall> {
    const answer = await this.#client.send('POST', '/firewalls', { data: { name, labels } });
    return parse(z.object({ firewall: firewallSchema }), answer).firewall;
  }

  async setRules(firewall: number, rules: Rule[]): Promise<Action[]> {
    const answer = await this.#client.send('POST', `/firewalls/${firewall}/actions/set_rules`, { data: { rules } });
    return parse(z.object({ actions: z.array(actionSchema) }), answer).actions;
  }

  async deleteFirewall(id: number): Promise<void> {
    await unlessGone(() => this.#client.send('DELETE', `/firewalls/${id}`));
  }

  async createImage(server: number, description: string, labels: Record<string, string>): Promise<Image> {
    const data = { type: 'snapshot', description, labels };
    const answer = await this.#client.send('POST', `/servers/${server}/actions/create_image`, { data });
    return parse(createdImageSchema, answer).image;
  }

  async image(id: number): Promise<Image | undefined> {
    return unlessGone(async () => {
      const answer = await this.#client.send('GET', `/images/${id}`);
      return parse(z.object({ image: imageSchema }), answer).image;
    });
  }

  images(params: Record<string, string>): Promise<Image[]> {
    return this.#all('images', imageSchema, params);
  }

  /** Writes the whole set: PUT keeps no label that isn't named. */
  async putLabels(of: 'images' | 'servers' | 'firewalls', id: number, labels: Record<string, string>): Promise<void> {
    await this.#client.send('PUT', `/${of}/${id}`, { data: { labels } });
  }

  async deleteImage(id: number): Promise<void> {
    await unlessGone(() => this.#client.library.images.delete(id));
  }

  sshKeys(params: Record<string, string>): Promise<SshKey[]> {
    return this.#all('ssh_keys', sshKeySchema, params);
  }

  async createSshKey(name: string, publicKey: string, labels: Record<string, string>): Promise<SshKey> {
    const answer = await this.#client.send('POST', '/ssh_keys', { data: { name, public_key: publicKey, labels } });
    return parse(z.object({ ssh_key: sshKeySchema }), answer).ssh_key;
  }

  async deleteSshKey(id: number): Promise<void> {
    await unlessGone(() => this.#client.library.sshKeys.delete(id));
  }

  serverTypes(): Promise<ServerType[]> {
    return this.#all('server_types', serverTypeSchema, {});
  }

  locations() {
    return this.#all('locations', locationSchema, {});
  }

  async pricing() {
    return parse(pricingSchema, await this.#client.send('GET', '/pricing')).pricing;
  }

  async #all<T>(key: string, schema: z.ZodType<T>, params: Record<string, string>, path = `/${key}`): Promise<T[]> {
    const all: T[] = [];
    for (let page: number | null = 1; page !== null; ) {
      const answer = await this.#client.send('GET', path, { params: { ...params, page, per_page: PER_PAGE } });
      all.push(...(parse(z.object({ [key]: z.array(schema) }), answer)[key] as T[]));
      page = parse(metaSchema, answer).meta.pagination.next_page;
    }
    return all;
  }
}

/** What is deleted already can't be looked at or deleted again, and that is fine. */
async function unlessGone<T>(call: () => Promise<T>): Promise<T | undefined> {
  try {
    return await call();
  } catch (error) {
    if (hasCode(error, 'not_found')) return undefined;
    throw error;
  }
}

/** @throws HetznerError that names the members that are wrong, and no value: answers hold passwords. */
function parse<T>(schema: z.ZodType<T>, answer: unknown): T {
  const { data, error } = schema.safeParse(answer);
  if (!error) return data as T;
  const places = error.issues.map(({ path }) => path.join('.')).join(', ');
  throw new HetznerError('unknown_answer', `the API answered in a form that is not known here: ${places}`, 422);
}
