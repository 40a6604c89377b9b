import { OpenRouterCore } from '@openrouter/sdk/core.js';
import { apiKeysCreate } from '@openrouter/sdk/funcs/apiKeysCreate.js';
import { apiKeysDelete } from '@openrouter/sdk/funcs/apiKeysDelete.js';
import { apiKeysGetCurrentKeyMetadata } from '@openrouter/sdk/funcs/apiKeysGetCurrentKeyMetadata.js';
import { apiKeysList } from '@openrouter/sdk/funcs/apiKeysList.js';
import { apiKeysUpdate } from '@openrouter/sdk/funcs/apiKeysUpdate.js';
import type { RequestOptions } from '@openrouter/sdk/lib/sdks.js';
import { BuildError, EXIT, inputError } from '../process/errors.ts';

/** One of the account's keys, without its secret. */
export interface ApiKey {
  hash: string;
  name: string;
  disabled: boolean;
  /** USD; null: without a cap. */
  limit: number | null;
  limitRemaining: number | null;
  limitReset: string | null;
  usage: number;
  expiresAt?: Date | null | undefined;
  createdAt: string;
}

/** What a new key may do. */
export interface Caps {
  /** USD. */
  limit: number | null;
  limitReset: 'daily' | 'weekly' | 'monthly' | null;
  expiresAt: Date | null;
}

/** The part of OpenRouter's management API that is used: https://openrouter.ai/docs/features/provisioning-api-keys */
export interface OpenRouterKeys {
  list(): Promise<ApiKey[]>;
  /** Tried again only where it was refused: a lost answer leaves a key of this name, which the caller looks for. */
  create(name: string, caps: Caps): Promise<{ hash: string; secret: string }>;
  /** What is gone already is fine; so with the next. */
  disable(hash: string): Promise<void>;
  remove(hash: string): Promise<void>;
  /** Whether OpenRouter takes a key. */
  takes(secret: string): Promise<boolean>;
}

const TIMEOUT_MS = 30_000;
/** A minute in all, pauses in milliseconds. */
const backoff = { initialInterval: 500, maxInterval: 10_000, exponent: 2, maxElapsedTime: 60_000 };
/** What passes by itself. */
const AGAIN = {
  retries: { strategy: 'backoff', backoff, retryConnectionErrors: true },
  retryCodes: ['429', '5XX'],
} satisfies RequestOptions;
/** Of what isn't to be done twice: refused before it was done. */
const UNDONE = {
  retries: { strategy: 'backoff', backoff, retryConnectionErrors: false },
  retryCodes: ['429'],
} satisfies RequestOptions;

/**
 * The account behind OPENROUTER_MANAGEMENT_KEY, which can make and remove keys and can't spend; it never comes onto a box.
 * OPENROUTER_API_URL is for tests.
 * @throws BuildError (input) without it.
 */
export function openRouterKeys(env: NodeJS.ProcessEnv = process.env): OpenRouterKeys {
  const { OPENROUTER_MANAGEMENT_KEY: management, OPENROUTER_API_URL: url } = env;
  if (!management)
    throw inputError(
      'keys',
      'OPENROUTER_MANAGEMENT_KEY is not set',
      'make one at openrouter.ai (Settings, Management keys) and export it: it is taken from the environment alone',
    );
  const client = (apiKey: string) =>
    new OpenRouterCore({ apiKey, timeoutMs: TIMEOUT_MS, ...(url ? { serverURL: url } : {}) });
  const account = client(management);
  return {
    async list() {
      const all: ApiKey[] = [];
      for (;;) {
        const { data } = ok(
          'listing keys',
          await apiKeysList(account, { offset: all.length, includeDisabled: true }, AGAIN),
        );
        all.push(...data);
        if (data.length === 0) return all;
      }
    },
    async create(name, { limit, limitReset, expiresAt }) {
      const requestBody = { name, limit, limitReset, ...(expiresAt ? { expiresAt } : {}) };
      const made = await apiKeysCreate(account, { requestBody }, UNDONE);
      const { key, data } = ok('creating a key', made);
      return { hash: data.hash, secret: key };
    },
    async disable(hash) {
      const disabled = await apiKeysUpdate(account, { hash, requestBody: { disabled: true } }, AGAIN);
      if (!disabled.ok && statusOf(disabled.error) === 404) return;
      ok('disabling a key', disabled);
    },
    async remove(hash) {
      const removed = await apiKeysDelete(account, { hash }, AGAIN);
      if (!removed.ok && statusOf(removed.error) === 404) return;
      ok('deleting a key', removed);
    },
    async takes(secret) {
      const said = await apiKeysGetCurrentKeyMetadata(client(secret), undefined, AGAIN);
      if (!said.ok && statusOf(said.error) === 401) return false;
      // Taken, whatever it says of the key besides.
      if (!said.ok && statusOf(said.error) === 200) return true;
      ok('asking with the new key', said);
      return true;
    },
  };
}

function statusOf(error: unknown): number | undefined {
  return (error as { statusCode?: number }).statusCode;
}

type Answer<T> = { ok: true; value: T } | { ok: false; error: unknown };

/** @throws BuildError with status and kind alone: the SDK's errors carry request and answer, which hold secrets. */
function ok<T>(what: string, answer: Answer<T>): T {
  if (answer.ok) return answer.value;
  const status = statusOf(answer.error);
  // With a status of success the SDK didn't know the form.
  const said = status !== undefined && status < 300 ? 'in a form that is not known here' : `${status}`;
  const why = status === undefined ? (answer.error as Error).name : `OpenRouter answered ${said}`;
  const refused = status === 401 || status === 403;
  throw new BuildError(
    'keys',
    `${what}: ${why}`,
    refused ? 'is OPENROUTER_MANAGEMENT_KEY a management key, and not deleted?' : 'the same command goes on from here',
    { exitCode: refused ? EXIT.input : EXIT.failed },
  );
}
