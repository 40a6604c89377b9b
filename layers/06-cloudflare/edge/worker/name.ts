import type { EdgeConfig, LiveEntry } from '../../../../src/contract/edge.ts';

/**
 * The instance's name in the zone that the request's host is in. Cloudflare ignores one of another zone, and asks the host's own
 * address: https://developers.cloudflare.com/workers/runtime-apis/request/#the-cf-property-requestinitcfproperties.
 * @param url the request's.
 * @param bound whether an mTLS certificate is bound, for origins outside of the zone.
 * @throws Error where an app's instance has no such name, so that its code isn't sent elsewhere.
 */
export function nameOf(
  { appsDomain }: Pick<EdgeConfig, 'appsDomain'>,
  { host, appsHost }: Pick<LiveEntry['origin'], 'host' | 'appsHost'>,
  url: string,
  bound: boolean,
): string {
  if (!new URL(url).hostname.endsWith(`.${appsDomain}`)) return host;
  if (appsHost?.endsWith(`.${appsDomain}`)) return appsHost;
  if (bound && !appsHost) return host;
  throw Object.assign(new Error('no name in the zone of apps'), { code: 'NO_APPS_HOST' });
}
