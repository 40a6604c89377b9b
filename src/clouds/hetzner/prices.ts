import type { Price, Published, Volume } from '../cloud.ts';
import type { HetznerApi } from './api.ts';
import { hourly, offered } from './servers.ts';

/**
 * List prices without VAT. Hetzner bills a snapshot's compressed size, which only Hetzner knows; what isn't zero on the
 * disk is the most that it can be.
 */
export async function price(api: HetznerApi, region: string, image: Published, { held }: Volume): Promise<Price[]> {
  const [{ currency, ...prices }, types] = await api.call('reading prices', () =>
    Promise.all([api.pricing(), api.serverTypes()]),
  );
  const gigabytes = held / 1e9;
  const lines: Price[] = [
    {
      what: `snapshot, at most ${gigabytes.toFixed(1)} GB`,
      amount: gigabytes * Number(prices.image.price_per_gb_month.net),
      currency,
      per: 'month',
    },
  ];
  const [type] = offered(types, region, Math.ceil(image.rawSize / 1e9));
  if (type) {
    const ips = prices.primary_ips.find(({ type: kind }) => kind === 'ipv4')?.prices;
    const address = Number(ips?.find(({ location }) => location === region)?.price_hourly.net ?? 0);
    // One is written to, one boots the snapshot; Hetzner bills begun hours.
    const amount = 2 * (hourly(type, region) + address);
    lines.push({ what: `two servers ${type.name} with an address, an hour each`, amount, currency, per: 'once' });
  }
  return lines;
}
