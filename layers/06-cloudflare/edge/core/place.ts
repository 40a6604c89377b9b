/** Which of our hosts a request is for, by its host name alone. */
import { type EdgeConfig, isAppPort, RESERVED_SLUGS, SLUG_PATTERN } from '../../../../src/contract/edge.ts';

export type Place =
  | { kind: 'auth'; host: string }
  | { kind: 'ui'; host: string; slug: string }
  | { kind: 'app'; host: string; slug: string; port: number }
  /** An app's host whose port no app may have. */
  | { kind: 'reserved'; host: string; slug: string };

/** A place that is an instance's. */
export type InstancePlace = Extract<Place, { kind: 'ui' | 'app' }>;

/** Where everybody signs in who has no Cloudflare Access. */
export const authHost = ({ uiDomain, publicPort }: EdgeConfig) =>
  `auth.${uiDomain}${publicPort === 443 ? '' : `:${publicPort}`}`;

/**
 * @param url of the request. Its host comes from the request's own Host, never from X-Forwarded-Host or its kin.
 * @returns undefined for a host that isn't ours, written in any way that isn't the plain one.
 */
export function placeOf(url: URL, config: EdgeConfig): Place | undefined {
  if (url.protocol !== 'https:' || url.username || url.password) return undefined;
  if ((url.port || '443') !== String(config.publicPort)) return undefined;
  const { hostname, host } = url;
  if (hostname === `auth.${config.uiDomain}`) return { kind: 'auth', host };
  const ui = below(hostname, config.uiDomain);
  if (ui !== undefined) return isSlug(ui) ? { kind: 'ui', host, slug: ui } : undefined;
  const app = /^([1-9]\d{0,4})--(.+)$/.exec(below(hostname, config.appsDomain) ?? '');
  const [, digits = '', slug = ''] = app ?? [];
  if (!isSlug(slug)) return undefined;
  const port = Number(digits);
  return isAppPort(port) ? { kind: 'app', host, slug, port } : { kind: 'reserved', host, slug };
}

/** The one label before a domain. */
function below(hostname: string, domain: string): string | undefined {
  if (!hostname.endsWith(`.${domain}`)) return undefined;
  return hostname.slice(0, -domain.length - 1);
}

const isSlug = (label: string) =>
  SLUG_PATTERN.test(label) && !(RESERVED_SLUGS as readonly string[]).includes(label as never);
