import { AUTH_SLUG, type EdgeConfig, isAppPort, SLUG } from '../../../../src/contract/edge.ts';

/** Whose host a request is for. */
export type Place =
  | { kind: 'auth'; host: string }
  | { kind: 'ui'; host: string; slug: string }
  | { kind: 'app'; host: string; slug: string; port: number }
  | { kind: 'none' };

/**
 * By the host name alone, in the one spelling that browsers send: lower case, without a trailing dot. A port of an app is written as
 * a number is: `03000`, `+3000` and reserved ones are nobody's.
 */
export function placeOf(url: URL, { uiDomain, appsDomain, port }: EdgeConfig): Place {
  const { hostname } = url;
  const host = port === 443 ? hostname : `${hostname}:${port}`;
  if ((url.port || '443') !== String(port)) return { kind: 'none' };
  const ui = below(hostname, uiDomain);
  if (ui === AUTH_SLUG) return { kind: 'auth', host };
  if (ui && SLUG.test(ui) && !ui.includes('--')) return { kind: 'ui', host, slug: ui };
  const app = /^([1-9]\d{3,4})--([a-z0-9-]+)$/.exec(below(hostname, appsDomain) ?? '');
  const [, number, slug] = app ?? [];
  if (slug && SLUG.test(slug) && !slug.includes('--') && isAppPort(Number(number)))
    return { kind: 'app', host, slug, port: Number(number) };
  return { kind: 'none' };
}

/** The one label below a domain. */
function below(hostname: string, domain: string): string | undefined {
  const end = `.${domain}`;
  return hostname.endsWith(end) ? hostname.slice(0, -end.length) : undefined;
}

/** @returns the origin of a host of ours, as browsers write it. */
export const originOf = (host: string) => `https://${host}`;
