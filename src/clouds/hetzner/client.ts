import library, { type Answer, type Client, type Request } from 'hcloud-js';
import { HetznerError } from './errors.ts';
import { asItWas } from './today.ts';

export interface ClientOptions {
  /** Never logged, shown, or part of an error. */
  token: string;
  /** Without a slash at its end. */
  endpoint: string;
  /** Milliseconds for one answer, from the first byte sent to the last received. hcloud-js' own 5 s end calls that succeed. */
  answerMs: number;
}

/**
 * hcloud-js, made to meet today's API. It was written for the API of 2021:
 *
 * - it reads `server.datacenter`, which was removed in July 2026, so that `servers.get`, `list` and `create` throw,
 *   `create` after the server exists: `asItWas` fills it;
 * - an answer that isn't JSON becomes a TypeError: every status comes through here first (validateStatus);
 * - network errors carry the configuration with the token: they become HetznerErrors, which have none.
 */
export class HetznerClient {
  readonly #client: Client;

  constructor({ token, endpoint, answerMs }: ClientOptions) {
    this.#client = new library.Client({ token, baseURL: endpoint, timeout: answerMs });
    const { axios } = this.#client;
    axios.defaults.validateStatus = () => true;
    // The token goes to the endpoint and nowhere else.
    axios.defaults.maxRedirects = 0;
    // axios' own limit begins anew with each byte.
    axios.interceptors.request.use((request) => ({ ...request, signal: AbortSignal.timeout(answerMs) }));
    // hcloud-js' own interceptor comes before, sees only successes, and lets everything pass.
    axios.interceptors.response.use(understand, (error) => {
      throw withoutRequest(error);
    });
  }

  /** hcloud-js itself, for those of its calls that work: api.ts says which. */
  get library(): Client {
    return this.#client;
  }

  /** A call that hcloud-js lacks. @returns the decoded answer. @throws HetznerError */
  async send(
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    url: string,
    more: Pick<Request, 'params' | 'data'> = {},
  ): Promise<unknown> {
    return (await this.#client.axios({ method, url, ...more })).data;
  }
}

/** An answer that is the API's own and a success; everything else is thrown. */
function understand(answer: Answer): Answer {
  const { status, data } = answer;
  if (status >= 200 && status < 300) {
    if (status !== 204 && !isRecord(data)) throw new HetznerError('not_json', 'the answer is not JSON', 502);
    return { ...answer, data: asItWas(data) };
  }
  const error = isRecord(data) && isRecord(data.error) ? data.error : {};
  const code = typeof error.code === 'string' ? error.code : `http_${status}`;
  const message =
    typeof error.message === 'string' ? error.message : `the answer was HTTP ${status}, and not the API's`;
  throw new HetznerError(code, message, status, pauseOf(answer));
}

/**
 * Milliseconds until the API takes calls again: Retry-After in seconds (gateways), or RateLimit-Reset, the time at which
 * the limit is full again, of which one call needs a second (3,600 an hour). At most a minute.
 */
function pauseOf({ status, headers }: Answer): number | undefined {
  if (status !== 429 && status !== 503) return undefined;
  const after = Number(headers['retry-after']);
  if (Number.isFinite(after) && after > 0) return Math.min(after * 1000, 60_000);
  const reset = Number(headers['ratelimit-reset']) * 1000 - Date.now();
  return Number.isFinite(reset) && reset > 0 ? Math.min(reset, 1000) : undefined;
}

/** No answer came. An axios error holds the request with its headers, so that nothing but its code is kept. */
function withoutRequest(error: unknown): HetznerError {
  if (error instanceof HetznerError) return error;
  const code = isRecord(error) && typeof error.code === 'string' ? error.code : 'no_answer';
  if (code === 'ERR_CANCELED' || code === 'ECONNABORTED' || code === 'ETIMEDOUT')
    return new HetznerError('ETIMEDOUT', 'no answer in time', 0);
  return new HetznerError(code, `no answer: ${code}`, 0);
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
