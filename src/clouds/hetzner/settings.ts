import { inputError } from '../../process/errors.ts';
import { HetznerApi, type Tuning } from './api.ts';
import { type ClientOptions, HetznerClient } from './client.ts';

export const DEFAULT_REGION = 'fsn1';
const DEFAULT_ENDPOINT = 'https://api.hetzner.cloud/v1';
/** As long as the slowest calls take (create_server answers after some seconds), and much more. */
const ANSWER_MS = 60_000;
/** As hcloud-cli. */
const POLL_MS = 500;
const LIMIT_MS = 30 * 60_000;

/** The API by the environment. @throws BuildError (input) */
export function openApi(env: NodeJS.ProcessEnv): HetznerApi {
  const { pollMs, limitMs, ...access } = settings(env);
  return new HetznerApi(new HetznerClient(access), { pollMs, limitMs });
}

/** @returns the name of a location. @throws BuildError (input) where it can't be one. */
export function checkRegion(region: string): string {
  if (/^[a-z]{2,4}\d{0,2}$/.test(region)) return region;
  throw inputError('hetzner', `${JSON.stringify(region)} is no location of Hetzner`, 'such as fsn1, nbg1, hel1');
}

/**
 * The environment as hcloud-cli reads it: HCLOUD_TOKEN, HCLOUD_ENDPOINT, HCLOUD_POLL_INTERVAL, HCLOUD_HTTP_TIMEOUT. The
 * token comes from there and nowhere else.
 *
 * @throws BuildError (input) that never repeats the token.
 */
export function settings(env: NodeJS.ProcessEnv): ClientOptions & Tuning {
  const token = env.HCLOUD_TOKEN;
  if (!token) {
    const hint = 'export HCLOUD_TOKEN=… (Hetzner console, your project, Security, API tokens, Read & Write)';
    throw inputError('hetzner', 'HCLOUD_TOKEN is not set', hint);
  }
  // Anything else would end as an error of the HTTP library, which shows the header.
  if (!/^[\x21-\x7e]+$/.test(token)) {
    throw inputError('hetzner', 'HCLOUD_TOKEN has characters that no token has', 'copy it anew: a line break?');
  }
  return {
    token,
    endpoint: endpointOf(env.HCLOUD_ENDPOINT || DEFAULT_ENDPOINT),
    answerMs: duration('HCLOUD_HTTP_TIMEOUT', env.HCLOUD_HTTP_TIMEOUT) ?? ANSWER_MS,
    pollMs: duration('HCLOUD_POLL_INTERVAL', env.HCLOUD_POLL_INTERVAL) ?? POLL_MS,
    limitMs: LIMIT_MS,
  };
}

function endpointOf(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const local = url?.protocol === 'http:' && ['127.0.0.1', '[::1]', 'localhost'].includes(url.hostname);
  // The token would cross the network in the clear.
  if (!url || !(url.protocol === 'https:' || local) || url.username || url.password)
    throw inputError(
      'hetzner',
      'HCLOUD_ENDPOINT must be an https URL without a password',
      `such as ${DEFAULT_ENDPOINT}`,
    );
  return text.replace(/\/+$/, '');
}

/** Milliseconds of Go's `500ms` or `1.5s`. */
function duration(name: string, text: string | undefined): number | undefined {
  if (!text) return undefined;
  const found = /^(\d+(?:\.\d+)?)(ms|s)$/.exec(text);
  if (!found || Number(found[1]) === 0)
    throw inputError('hetzner', `${name} is no duration: ${text}`, `such as ${name}=500ms`);
  return Number(found[1]) * (found[2] === 's' ? 1000 : 1);
}
