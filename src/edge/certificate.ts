import { X509Certificate } from 'node:crypto';
import { originSchema } from '../contract/ops.ts';
import { BuildError } from '../process/errors.ts';
import { all, asked } from './api.ts';
import type { Context } from './change.ts';

/** An instance's gate, as the operators' channel reaches it. */
export interface Gate {
  instance: string;
  /** By which names Cloudflare reaches it. */
  hosts: string[];
  /** Puts `set-origin-cert` to it. */
  ask: (args: Record<string, unknown>) => Promise<unknown>;
}

const permissions = ['SSL and Certificates: Edit'];
/** Days, one of those that Cloudflare makes: https://developers.cloudflare.com/api/resources/origin_ca_certificates/methods/create/ */
const VALIDITY = 365 as const;
/** Days that are left when another is made. */
const RENEW = 60;
const DAY_MS = 86_400_000;

/**
 * Gives an instance a certificate of Cloudflare's CA for origins, for its own key, where it has none that lasts. Only the request leaves
 * the box. One that Cloudflare made and that never came to the box is used by the next call.
 *
 * @returns until when it lasts, and whether that is a new one.
 * @throws BuildError where the instance or Cloudflare doesn't take it; the gate then shows what it showed.
 */
export async function certify(
  context: Context,
  { instance, hosts, ask }: Gate,
): Promise<{ until: string; renewed: boolean }> {
  const { api, zoneId, detail } = context;
  const now = read(instance, await ask({}));
  const issued = new X509Certificate(now.certificate);
  const lasts = Date.parse(now.until) > Date.now() + RENEW * DAY_MS;
  if (issued.issuer !== issued.subject && lasts && hosts.every((host) => issued.checkHost(host)))
    return { until: now.until, renewed: false };

  detail('asking Cloudflare');
  const csr = now.certificateRequest.trim();
  const made = await asked(
    'reading origin certificates',
    permissions,
    all(api.originCACertificates.list({ zone_id: zoneId })),
  );
  const good = made.find(
    (one) =>
      one.csr?.trim() === csr &&
      hosts.every((host) => one.hostnames.includes(host)) &&
      Date.parse(one.expires_on ?? '') > Date.now() + RENEW * DAY_MS,
  );
  const body = { csr, hostnames: hosts, request_type: 'origin-ecc' as const, requested_validity: VALIDITY };
  const { certificate } =
    good ?? (await asked('making an origin certificate', permissions, api.originCACertificates.create(body)));
  detail('giving it to the instance');
  const { until } = read(instance, await ask({ certificate }));
  return { until, renewed: true };
}

function read(instance: string, result: unknown) {
  const origin = originSchema.safeParse(result);
  if (!origin.success) throw new BuildError(`edge ${instance}`, 'set-origin-cert: it answers otherwise', 'docs/ops.md');
  return origin.data;
}
