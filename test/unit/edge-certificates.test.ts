import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { applyPlan, planRemoval } from '../../src/edge/apply.ts';
import { certify } from '../../src/edge/certificate.ts';
import { BuildError } from '../../src/process/errors.ts';
import { openssl, over, withZone, work, ZONE } from './edge-zone-fixture.ts';

test('a certificate that never became active is put in anew; one that has ended is still taken away', async (t) => {
  const { fake, apply, names, context } = await withZone(t, ZONE);
  await apply();
  const only = () => [...fake.certificates.values()][0] as unknown as { status: string };
  only().status = 'deployment_timed_out';
  t.deepEqual(await names(), ['update client certificate']);
  await apply();
  t.is(fake.certificates.size, 1);
  t.is(only().status, 'active');
  const late = await over(fake, { ...ZONE, originPulls: { certificate: 'late.crt', key: 'none.key' } });
  const gone = () => planRemoval(late.context);
  await applyPlan(await gone(), gone, (_, change) => change());
  t.is(fake.certificates.size, 0);
  t.is(context.limits.plan, 'free');
});

test('an instance gets a certificate of Cloudflare’s CA once, and again when it ends; one that was lost on its way is used', async (t) => {
  const { fake, context } = await withZone(t, ZONE);
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=clawdy'];
  openssl('req', '-x509', ...curve, '-days', '3650', '-keyout', 'gate.key', '-out', 'gate.crt');
  openssl('req', '-new', '-key', 'gate.key', '-subj', '/CN=clawdy', '-out', 'gate.csr');
  const box = { certificate: readFileSync(join(work, 'gate.crt'), 'utf8'), lose: true };
  const ask = async ({ certificate }: { certificate?: string }) => {
    if (certificate) {
      t.true(new X509Certificate(certificate).checkPrivateKey(createPrivateKey(readFileSync(join(work, 'gate.key')))));
      if (box.lose) throw new BuildError('ops', 'lost', '');
      box.certificate = certificate;
    }
    const until = new Date(new X509Certificate(box.certificate).validTo).toISOString().replace('.000', '');
    return { certificate: box.certificate, certificateRequest: readFileSync(join(work, 'gate.csr'), 'utf8'), until };
  };
  const gate = { instance: 'i-1', hosts: ['alice.example.com'], ask };
  await t.throwsAsync(certify(context, gate), { message: 'lost' });
  box.lose = false;
  t.like(await certify(context, gate), { renewed: true });
  t.is(fake.origins.length, 1, 'the one that was made before');
  t.like(await certify(context, gate), { renewed: false });
  t.like(await certify(context, { ...gate, hosts: [...gate.hosts, '3000--alice.example.net'] }), { renewed: true });
  t.is(fake.origins.length, 2);
});
