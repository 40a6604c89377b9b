import { execFileSync } from 'node:child_process';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { type Body, type FakeZone, judged, newId, Refusal, type Row, removed } from './state.ts';

/** `/zones/…/origin_tls_client_auth/settings`: whether the certificate is shown. */
export function clientAuth(zone: FakeZone, method: string, body: Body) {
  if (method === 'PUT') {
    judged('clientAuth', { zone_id: zone.id, ...body });
    zone.pulls = body.enabled as boolean;
  }
  return { enabled: zone.pulls };
}

/** `/zones/…/origin_tls_client_auth`. */
export function clientCertificate(
  { id: zone_id, certificates }: FakeZone,
  method: string,
  id: string | undefined,
  body: Body,
) {
  if (method === 'GET')
    return [...certificates.values()].map((one) => {
      // It takes a while to reach all of Cloudflare.
      if (one.status === 'pending_deployment' && ++one.polls > 1) one.status = 'active';
      const { polls, ...told } = one;
      return told;
    });
  if (method === 'DELETE') return removed(certificates, id);
  judged('clientCertificate', { zone_id, ...body });
  const certificate = new X509Certificate(body.certificate as string);
  if (!certificate.checkPrivateKey(createPrivateKey(body.private_key as string)))
    throw new Refusal(400, 1427, 'The private key does not match the certificate.');
  if (certificate.ca) throw new Refusal(400, 1420, 'The certificate must be a leaf certificate.');
  const made = { id: newId(), certificate: body.certificate, status: 'pending_deployment', polls: 0 };
  certificates.set(made.id, made);
  return made;
}

/** `/certificates`: of the CA for origins. */
export function originCertificate(origins: Row[], method: string, body: Body) {
  if (method === 'GET') return origins;
  judged('originCertificate', body);
  const days = body.requested_validity as number;
  if (![7, 30, 90, 365, 730, 1095, 5475].includes(days)) throw new Refusal(400, 1005, 'invalid validity');
  const certificate = sign(body.csr as string, body.hostnames as string[], days);
  const expires_on = new Date(Date.now() + days * 86_400_000).toISOString();
  const made = { id: newId(), ...body, certificate, expires_on };
  origins.push(made);
  return made;
}

/** A certificate as by Cloudflare's CA for origins: for the names that were asked for, whatever the request says. */
function sign(csr: string, hosts: string[], days: number): string {
  const names = hosts.map((host) => `DNS:${host}`).join(',');
  const script = `d=$(mktemp -d); trap 'rm -rf "$d"' EXIT; cd "$d"; cat >csr
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=origins -keyout ca.key -out ca.crt
    printf 'subjectAltName=${names}\n' >ext
    openssl x509 -req -in csr -CA ca.crt -CAkey ca.key -days ${days} -extfile ext`;
  return execFileSync('sh', ['-c', script], { input: csr, stdio: ['pipe', 'pipe', 'ignore'] }).toString();
}
