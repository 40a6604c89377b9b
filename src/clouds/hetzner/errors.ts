import { BuildError, EXIT } from '../../process/errors.ts';
import type { Judgement } from '../retry.ts';

/**
 * What went wrong between us and the API, and nothing else: neither request, headers nor token, which an axios error
 * carries and util.inspect prints.
 */
export class HetznerError extends Error {
  /** The API's own code, `http_NNN` where the answer wasn't the API's, or the network's (`ECONNRESET`). */
  readonly code: string;
  /** Of the answer; 0 where there was none. */
  readonly status: number;
  /** Milliseconds that the API asks to wait. */
  readonly afterMs: number | undefined;

  constructor(code: string, message: string, status: number, afterMs?: number) {
    super(message);
    this.name = 'HetznerError';
    this.code = code;
    this.status = status;
    this.afterMs = afterMs;
  }
}

export function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof HetznerError && codes.includes(error.code);
}

/** Codes after which the same call may succeed: https://docs.hetzner.cloud/reference/cloud#errors */
const AGAIN: Record<string, string> = {
  // 3,600 requests an hour for each project, refilled by one a second.
  rate_limit_exceeded: 'the rate limit of the project is reached',
  // Somebody else changed the resource between our reading and our writing: both are done anew.
  conflict: 'the resource changed meanwhile',
  // An action on the resource is running; there is no queue, so the caller waits.
  locked: 'another action is running',
  // The API's own words for a fault behind it that passes.
  service_error: 'the service failed',
  server_error: 'the API failed',
  bad_gateway: 'the API was not reached behind its gateway',
  timeout: 'the API answered too late',
  unknown_error: 'the API failed for a reason it does not know',
  // Announced maintenance of single functions; it takes minutes.
  maintenance: 'maintenance',
};

/** Retried: what passes by itself. Everything else (unauthorized, forbidden, invalid_input, limits) is final at once. */
export function judge(error: unknown): Judgement {
  if (!(error instanceof HetznerError)) return { again: false };
  // No answer: reset, timeout, refused. Each creating call looks first whether the lost one took effect.
  if (error.status === 0) return { again: true, reason: error.message };
  // A gateway's HTML, or 5xx of the API itself; 4xx that aren't named are our fault and stay so.
  if (error.status >= 500) return { again: true, reason: AGAIN[error.code] ?? error.message, afterMs: error.afterMs };
  // 429 of a gateway has no code of the API.
  const reason = AGAIN[error.code] ?? (error.status === 429 ? AGAIN.rate_limit_exceeded : undefined);
  return reason ? { again: true, reason, afterMs: error.afterMs } : { again: false };
}

const HINTS: Record<string, string> = {
  unauthorized: 'HCLOUD_TOKEN is wrong or was deleted: make one in the Hetzner console, Security, API tokens',
  forbidden: 'the token may not do this: it has to have the permission Read & Write',
  token_readonly: 'the token is read-only: make one with the permission Read & Write',
  resource_limit_exceeded:
    'the project has reached a limit: remove what is not needed (prune), or ask Hetzner to raise it',
  resource_unavailable: 'Hetzner has no such server free now: try later, or another location with --region',
  placement_error: 'Hetzner has no such server free now: try later, or another location with --region',
  uniqueness_error: 'something in the project has this name already: prune sweeps what runs left',
  invalid_input: 'Hetzner takes no such value: change what it names',
  protected: 'it is protected in the Hetzner console',
  rate_limit_exceeded: 'something else uses up the rate limit of the project; try again in some minutes',
};

/** One error for a person; `what` says what was being done. Holds nothing of the request. */
export function explain(error: unknown, what: string): BuildError {
  if (!(error instanceof HetznerError)) {
    // Our own bug or the library's; its message is about code, not about a request.
    return new BuildError('hetzner', `${what}: ${error instanceof Error ? error.message : 'failed'}`, 'report it');
  }
  const network = error.status === 0;
  const hint = HINTS[error.code] ?? (network ? 'is api.hetzner.cloud (or HCLOUD_ENDPOINT) reachable?' : 'try again');
  const credentials = ['unauthorized', 'forbidden', 'token_readonly'].includes(error.code);
  return new BuildError('hetzner', `${what}: ${error.message} (${error.code})`, hint, {
    exitCode: credentials ? EXIT.input : EXIT.failed,
    forAll: credentials,
  });
}
