import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { cloudflare } from '../../src/edge/api.ts';
import { applyPlan, openZone, planZone } from '../../src/edge/apply.ts';
import { type FakeCloudflare, startFakeCloudflare } from '../fakes/cloudflare/index.ts';

export const work = mkdtempSync(join(tmpdir(), 'clawdy-edge-test-'));
test.after.always(() => rmSync(work, { recursive: true, force: true }));
export const openssl = (...words: string[]) => execFileSync('openssl', words, { cwd: work, stdio: 'ignore' });

/** A CA, and certificates for a client by it and by another. */
test.before(() => {
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  for (const ca of ['ca', 'other'])
    openssl('req', '-x509', ...curve, '-subj', `/CN=${ca}`, '-keyout', `${ca}.key`, '-out', `${ca}.crt`);
  writeFileSync(join(work, 'leaf.ext'), 'basicConstraints=CA:FALSE\n');
  for (const [name, ca, days] of [
    ['one', 'ca', '90'],
    ['two', 'ca', '90'],
    ['foreign', 'other', '90'],
    ['late', 'ca', '3'],
  ] as const) {
    openssl('req', ...curve, '-subj', `/CN=${name}`, '-keyout', `${name}.key`, '-out', `${name}.csr`);
    openssl(
      'x509',
      '-req',
      '-in',
      `${name}.csr`,
      '-CA',
      `${ca}.crt`,
      '-CAkey',
      `${ca}.key`,
      '-CAcreateserial',
      '-days',
      days,
      '-extfile',
      'leaf.ext',
      '-out',
      `${name}.crt`,
    );
  }
});

/** A zone with some of everything. */
export const ZONE = {
  version: 1,
  zone: 'example.com',
  origins: [
    { name: 'alice.example.com', address: '203.0.113.7' },
    { name: 'bob.example.com', address: '2001:db8::7' },
    { name: 'carol.example.com', address: '203.0.113.9' },
  ],
  originPulls: { certificate: 'one.crt', key: 'one.key' },
  rules: [{ name: 'no-admin', expression: '(http.request.uri.path eq "/admin")', action: 'block' }],
  rateLimits: [
    {
      name: 'sign-in',
      expression: '(http.request.uri.path eq "/.clawdy/sign-in")',
      requests: 20,
      seconds: 10,
      pause: 10,
    },
  ],
  access: { domain: 'alice.example.com', allow: ['owner@example.com', 'ann@example.com'], session: '8h' },
};

let files = 0;
/** @returns the file. */
export function written(zone: object): string {
  const file = join(work, `zone-${files++}.yaml`);
  writeFileSync(file, JSON.stringify(zone));
  return file;
}

/** A new zone at a new Cloudflare, and what zone.yaml wants of it. */
export async function withZone(t: ExecutionContext, zone: object, plan = 'free') {
  const fake = await startFakeCloudflare(plan);
  t.teardown(() => fake.close());
  return { fake, ...(await over(fake, zone)) };
}

/** What another zone.yaml wants of the same. */
export async function over(fake: FakeCloudflare, zone: object) {
  const context = await openZone(cloudflare({ ...fake.env }), written(zone));
  const planned = () => planZone(context);
  const apply = async () => applyPlan(await planned(), planned, (_, apply) => apply());
  const names = async () =>
    (await planned()).flatMap(({ changes }) => changes.map(({ what, name }) => `${what} ${name}`));
  return { context, planned, apply, names };
}
