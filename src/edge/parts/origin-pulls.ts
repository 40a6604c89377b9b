import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BuildError, inputError } from '../../process/errors.ts';
import { all, asked } from '../api.ts';
import type { Change, Context, Part } from '../change.ts';

const permissions = ['SSL and Certificates: Edit'];
/** Cloudflare puts one in place within a minute or two; the old one goes only then. */
const ACTIVE_LIMIT_MS = 5 * 60_000;
const POLL_MS = 1_000;
const DAY_MS = 86_400_000;
/** What ends sooner isn't given to Cloudflare: the next thing would be an instance that nobody reaches. */
const DAYS_LEFT = 14;

/** The client certificate that Cloudflare shows to the zone's instances: https://developers.cloudflare.com/ssl/origin-configuration/authenticated-origin-pull/ */
export const originPulls: Part = {
  name: 'origin pulls',
  permissions,
  changes: async (context) => {
    const { api, zone, zoneId } = context;
    if (!zone.originPulls) return [];
    const { certificate, key } = readPair(context);
    const there = await list(context);
    const fingerprint = new X509Certificate(certificate).fingerprint256;
    const mine = there.find((one) => one.fingerprint === fingerprint);
    const upload = async () => {
      const body = { zone_id: zoneId, certificate, private_key: key };
      await asked(
        'uploading the client certificate',
        permissions,
        api.originTLSClientAuth.zoneCertificates.create(body),
      );
      await untilActive(context, fingerprint);
    };
    const one = { name: 'client certificate', from: mine?.status, to: mine ? 'active' : describe(certificate) };
    const changes: Change[] = [];
    if (!mine) changes.push({ ...one, what: 'create', apply: upload });
    else if (mine.status?.endsWith('timed_out'))
      // It never becomes active any more.
      changes.push({
        ...one,
        what: 'update',
        apply: () => Promise.resolve(remove(context, mine).apply()).then(upload),
      });
    else if (mine.status !== 'active')
      changes.push({ ...one, what: 'update', apply: () => untilActive(context, fingerprint) });
    const { enabled } = (await asked(
      'reading origin pulls',
      permissions,
      api.originTLSClientAuth.settings.get({ zone_id: zoneId }),
    )) as { enabled?: boolean };
    if (!enabled)
      changes.push({
        ...{ what: 'update', name: 'origin pulls', from: false, to: true },
        apply: () =>
          asked(
            'turning on origin pulls',
            permissions,
            api.originTLSClientAuth.settings.update({ zone_id: zoneId, enabled: true }),
          ),
      });
    // An earlier one of the same CA; another's may be there for reasons of theirs.
    const { issuer } = new X509Certificate(certificate);
    for (const old of there.filter((one) => one.fingerprint !== fingerprint && one.issuer === issuer))
      changes.push(remove(context, old));
    return changes;
  },
  removal: async (context) => {
    if (!context.zone.originPulls) return [];
    const { issuer } = readCertificate(context).parsed;
    return (await list(context)).filter((one) => one.issuer === issuer).map((one) => remove(context, one));
  },
};

function readBeside(folder: string, name: string): string {
  try {
    return readFileSync(join(folder, name), 'utf8');
  } catch {
    throw inputError('edge', `${name} can't be read`, 'originPulls names files beside zone.yaml');
  }
}

/** @throws BuildError (input) where the file isn't a certificate. By its CA those at Cloudflare are known as ours. */
function readCertificate({ zone, folder }: Context): { certificate: string; parsed: X509Certificate } {
  const file = zone.originPulls?.certificate as string;
  const certificate = readBeside(folder, file);
  try {
    return { certificate, parsed: new X509Certificate(certificate) };
  } catch {
    throw inputError('edge', `${file} is no certificate in PEM`, 'docs/edge-zone.md says how to make one');
  }
}

/** @throws BuildError (input) where the files aren't a client's certificate with its key, or it ends soon. The key is never repeated. */
function readPair(context: Context): { certificate: string; key: string } {
  const { zone, folder } = context;
  const files = zone.originPulls as NonNullable<typeof zone.originPulls>;
  const { certificate, parsed } = readCertificate(context);
  if (parsed.ca)
    throw inputError(
      'edge',
      `${files.certificate} is a CA's; a client's is wanted`,
      'docs/edge-zone.md says how to make one',
    );
  if (Date.parse(parsed.validTo) < Date.now() + DAYS_LEFT * DAY_MS)
    throw inputError('edge', `${files.certificate} ends on ${parsed.validTo}`, 'make another by the same CA');
  return { certificate, key: readBeside(folder, files.key) };
}

interface Listed {
  id: string;
  status: string | undefined;
  fingerprint: string;
  issuer: string;
  text: string;
}

async function list({ api, zoneId }: Context): Promise<Listed[]> {
  const there = await asked(
    'reading client certificates',
    permissions,
    all(api.originTLSClientAuth.zoneCertificates.list({ zone_id: zoneId })),
  );
  return there.flatMap(({ id, certificate, status }) => {
    if (!id || !certificate || status?.startsWith('delet') || status === 'pending_deletion') return [];
    const { fingerprint256: fingerprint, issuer } = new X509Certificate(certificate);
    return [{ id, status, fingerprint, issuer, text: describe(certificate) }];
  });
}

function remove({ api, zoneId }: Context, { id, text }: Listed): Change {
  return {
    ...{ what: 'delete', name: 'client certificate', from: text },
    apply: () =>
      asked(
        'removing a client certificate',
        permissions,
        api.originTLSClientAuth.zoneCertificates.delete(id, { zone_id: zoneId }),
      ),
  };
}

async function untilActive(context: Context, fingerprint: string): Promise<void> {
  const end = Date.now() + ACTIVE_LIMIT_MS;
  for (;;) {
    const status = (await list(context)).find((one) => one.fingerprint === fingerprint)?.status;
    if (status === 'active') return;
    context.detail(`client certificate: ${status}`);
    if (Date.now() > end || status?.endsWith('timed_out'))
      throw new BuildError(
        'edge',
        `the client certificate isn't in place: ${status}`,
        'the same command goes on from here',
      );
    await sleep(POLL_MS);
  }
}

function describe(certificate: string): string {
  const { subject, serialNumber, validTo } = new X509Certificate(certificate);
  return `${subject.replaceAll('\n', ', ')}, serial ${serialNumber}, until ${validTo}`;
}
