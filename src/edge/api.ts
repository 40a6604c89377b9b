import { APIError, Cloudflare } from 'cloudflare';
import { BuildError, inputError } from '../process/errors.ts';

/** Milliseconds for one call; the SDK tries three times again, where that does no harm. */
const TIMEOUT_MS = 30_000;

/**
 * The account behind CLOUDFLARE_API_TOKEN. CLOUDFLARE_API_URL is for tests.
 * @throws BuildError (input) without it.
 */
export function cloudflare(env: NodeJS.ProcessEnv = process.env): Cloudflare {
  const { CLOUDFLARE_API_TOKEN: apiToken, CLOUDFLARE_API_URL: url } = env;
  if (!apiToken)
    throw inputError(
      'edge',
      'CLOUDFLARE_API_TOKEN is not set',
      'make one at dash.cloudflare.com (My Profile, API Tokens), with what docs/edge-zone.md lists, and export it',
    );
  return new Cloudflare({
    apiToken,
    maxRetries: 3,
    timeout: TIMEOUT_MS,
    logLevel: 'off',
    ...(url ? { baseURL: url } : {}),
  });
}

/**
 * Waits for a call.
 * @param what that was to be done, for the error.
 * @param permissions one of which may be missing.
 * @throws BuildError with Cloudflare's own words.
 */
export async function asked<T>(what: string, permissions: string[], call: PromiseLike<T>): Promise<T> {
  try {
    return await call;
  } catch (error) {
    if (!(error instanceof APIError)) throw error;
    const said = error.errors?.map(({ code, message }) => `${message} (${code})`).join('; ') || error.message;
    const refused = error.status === 401 || error.status === 403;
    throw new BuildError(
      'edge',
      `${what}: ${error.status ?? 'no answer'}: ${said}`,
      refused ? `the token needs: ${permissions.join(', ')}` : 'the same command goes on from here',
      { cause: error, forAll: error.status === 401 },
    );
  }
}

async function unless<T>(status: number, call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (error instanceof APIError && error.status === status) return undefined;
    throw error;
  }
}

/** @returns what a call gives, or undefined where there is no such thing. */
export const found = <T>(call: Promise<T>) => unless(404, call);

/** @returns what a call gives, or undefined where the token may not ask. */
export const permitted = <T>(call: Promise<T>) => unless(403, call);

/** All that a list has, over its pages. */
export async function all<T>(pages: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of pages) items.push(item);
  return items;
}
