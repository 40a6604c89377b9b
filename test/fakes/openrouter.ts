import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { z } from 'zod';

/**
 * OpenRouter's management of keys, as a server with state. Built from the models of @openrouter/sdk 1.3.19
 * (models/operations/{createkeys,updatekeys,deletekeys,list,getcurrentkey}): requests have no member that those don't have, and
 * answers are read by that SDK, which refuses what it doesn't know. Not built from the service itself: codes of refusals are
 * those that the SDK names.
 */
const createSchema = z.strictObject({
  name: z.string().min(1),
  limit: z.number().nonnegative().nullish(),
  limit_reset: z.enum(['daily', 'weekly', 'monthly']).nullish(),
  expires_at: z.iso.datetime().nullish(),
  include_byok_in_limit: z.boolean().optional(),
});
const updateSchema = z.strictObject({ disabled: z.boolean().optional(), name: z.string().min(1).optional() });

/** As the API lists a key. */
const listed = (key: FakeKey) => ({
  ...{ hash: key.hash, name: key.name, label: `${key.secret.slice(0, 12)}...`, disabled: key.disabled },
  ...{ limit: key.limit, limit_remaining: key.limit, limit_reset: key.limit_reset, include_byok_in_limit: false },
  ...{ usage: 0, usage_daily: 0, usage_weekly: 0, usage_monthly: 0 },
  ...{ byok_usage: 0, byok_usage_daily: 0, byok_usage_weekly: 0, byok_usage_monthly: 0 },
  ...{ created_at: key.created, updated_at: null, expires_at: key.expires_at, creator_user_id: 'user_1' },
  ...{ external_user: null, workspace_id: '0df9e665-d932-5740-b2c7-b52af166bc11' },
});

interface FakeKey {
  hash: string;
  secret: string;
  name: string;
  disabled: boolean;
  limit: number | null;
  limit_reset: string | null;
  expires_at: string | null;
  created: string;
}

export interface FakeOpenRouter {
  env: Record<string, string>;
  keys: Map<string, FakeKey>;
  /** `METHOD path`, each that took effect. */
  calls: string[];
  /** Asked before each call; a number is answered in its place. */
  refuse: ((call: string) => number | undefined) | undefined;
  /** Told after each call's effect and before its answer; true: the connection ends there. */
  lose: ((call: string) => boolean) | undefined;
  close(): Promise<void>;
}

/** Pages are of 100. */
const PAGE = 100;

export async function startFakeOpenRouter(): Promise<FakeOpenRouter> {
  const management = `sk-or-v1-${randomBytes(32).toString('hex')}`;
  const keys = new Map<string, FakeKey>();
  const server = createServer((request, response) => {
    serve(request, response).catch((error) => {
      process.stderr.write(`fake OpenRouter: ${error instanceof Error ? error.stack : error}\n`);
      response.writeHead(418).end();
    });
  });
  const answer = (response: ServerResponse, status: number, body: unknown) =>
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  const refusal = (code: number, message: string) => ({ error: { code, message } });

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://fake');
    let text = '';
    for await (const part of request) text += part;
    const call = `${request.method} ${pathname.replace(/\/keys\/.+/, '/keys/{hash}')}`;
    const refused = fake.refuse?.(call);
    if (refused) return void answer(response, refused, refusal(refused, 'as the test wants it'));
    const token = request.headers.authorization?.replace(/^Bearer /, '') ?? '';
    const [status, body] = perform(call, pathname.split('/').at(-1) ?? '', searchParams, text, token);
    if (status < 300) fake.calls.push(call);
    if (status < 300 && fake.lose?.(call)) return void response.socket?.destroy();
    answer(response, status, body);
  }

  function perform(call: string, hash: string, query: URLSearchParams, text: string, token: string): [number, unknown] {
    if (call === 'GET /key') {
      const key = [...keys.values()].find(({ secret }) => secret === token);
      if (!key || key.disabled) return [401, refusal(401, 'User not found.')];
      const { hash: _hash, name: _name, disabled: _disabled, ...said } = listed(key);
      const more = {
        ...{ is_free_tier: false, is_management_key: false, is_provisioning_key: false, organization_id: null },
        rate_limit: { requests: -1, interval: '10s', note: 'deprecated' },
        free_model_daily_requests: { limit: 50, remaining: 50, used: 0 },
        allowed_data_regions: ['global'],
      };
      return [200, { data: { ...said, ...more } }];
    }
    if (token !== management) return [401, refusal(401, 'Invalid management key')];
    if (call === 'GET /keys') {
      const from = Number(query.get('offset') ?? 0);
      const shown = [...keys.values()].filter((key) => query.get('include_disabled') === 'true' || !key.disabled);
      return [200, { data: shown.slice(from, from + PAGE).map(listed) }];
    }
    if (call === 'POST /keys') {
      const { data, error } = createSchema.safeParse(JSON.parse(text));
      if (!data) return [400, refusal(400, z.prettifyError(error))];
      const { name, limit = null, limit_reset = null, expires_at = null } = data;
      const [secret, made] = [`sk-or-v1-${randomBytes(32).toString('hex')}`, randomBytes(32).toString('hex')];
      const created = new Date().toISOString();
      const key: FakeKey = { hash: made, secret, name, disabled: false, limit, limit_reset, expires_at, created };
      keys.set(made, key);
      return [201, { key: secret, data: listed(key) }];
    }
    const key = keys.get(hash);
    if (!key) return [404, refusal(404, 'API key not found')];
    if (call === 'PATCH /keys/{hash}') {
      const { data, error } = updateSchema.safeParse(JSON.parse(text));
      if (!data) return [400, refusal(400, z.prettifyError(error))];
      Object.assign(key, data);
      return [200, { data: listed(key) }];
    }
    if (call === 'DELETE /keys/{hash}') {
      keys.delete(hash);
      return [200, { deleted: true }];
    }
    return [404, refusal(404, `no such call: ${call}`)];
  }

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const fake: FakeOpenRouter = {
    env: {
      OPENROUTER_MANAGEMENT_KEY: management,
      OPENROUTER_API_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    },
    ...{ keys, calls: [], refuse: undefined, lose: undefined },
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return fake;
}
