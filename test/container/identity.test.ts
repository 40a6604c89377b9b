import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { bansSchema, originSchema } from '../../src/contract/ops.ts';
import { ask } from '../../src/ops/channel.ts';
import { readSigned } from '../../src/ops/signed.ts';
import { status } from '../../src/ops/status.ts';
import { rotateInstanceKey } from '../../src/rotate/instance-key.ts';
import { withBox, work } from './boxes.ts';
import { newOperator, wayTo } from './channel.ts';

// Whom an instance is known by, and what it says with its own key: by the operators' channel.

test.serial('an instance gets a certificate of a CA and another key, and says whom it has banned', async (t) => {
  const { operator, launch } = await newOperator();
  await withBox({ instanceId: 'i-origin', userData: launch('origin') }, async (box) => {
    const way = await wayTo(box, 'i-origin', operator);

    const { certificateRequest, certificate } = originSchema.parse(await ask(way, 'set-origin-cert', {}));
    const at = (name: string) => join(work, name);
    writeFileSync(at('origin.csr'), certificateRequest);
    const openssl = (...words: string[]) =>
      execFileSync('openssl', words, { stdio: ['ignore', 'pipe', 'ignore'], cwd: work }).toString();
    const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
    openssl('req', '-x509', ...newKey, '-subj', '/CN=CA', '-keyout', 'ca.key', '-out', 'ca.crt');
    openssl('req', ...newKey, '-subj', '/CN=x', '-keyout', 'other.key', '-out', 'other.csr');
    const signed = (request: string, days: string) =>
      openssl('x509', '-req', '-in', request, '-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', days);
    const good = signed('origin.csr', '30');
    for (const [wrong, why] of [
      [signed('other.csr', '30'), /isn't for this gate's key/],
      [signed('origin.csr', '1'), /ends within a day/],
      [readFileSync(at('ca.crt'), 'utf8'), /isn't for this gate's key/],
      ['-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n', /can't be read/],
      ['no certificate', /one to five/],
      [good.repeat(6), /one to five/],
      [7, /takes \{"certificate"/],
    ] as const)
      await t.throwsAsync(ask(way, 'set-origin-cert', { certificate: wrong }), { message: why });
    t.is((await box.exec('cat /var/lib/clawdy/state/gate/origin.crt')).stdout, certificate, 'nothing is lost');
    const set = originSchema.parse(
      await ask(way, 'set-origin-cert', { certificate: `${good}${readFileSync(at('ca.crt'), 'utf8')}` }),
    );
    t.is(new X509Certificate(set.certificate).fingerprint256, new X509Certificate(good).fingerprint256);
    const kept = (
      await box.exec('cat /var/lib/clawdy/state/gate/origin.pem; stat -c %a /var/lib/clawdy/state/gate/origin.pem')
    ).stdout;
    t.is(kept.match(/BEGIN CERTIFICATE/g)?.length, 2);
    t.regex(kept, /PRIVATE KEY-----\n600\n$|600\n$/);
    t.false(JSON.stringify(set).includes('PRIVATE'));

    // The key that signs: an answer that is lost leaves nobody without a key that can be checked.
    const trusted: { instance_key: string | null; instance_key_next: string | null } = {
      instance_key: way.instance_key,
      instance_key_next: null,
    };
    let lose = '';
    const rotating = () =>
      rotateInstanceKey({
        instance: { ...way, ...trusted },
        ask: async (args) => {
          const answer = await ask(way, 'rotate-instance-key', args);
          if (args.step === lose) throw new Error('lost');
          return answer;
        },
        remember: (change) => void Object.assign(trusted, change),
      });
    for (lose of ['prepare', 'commit']) {
      await t.throwsAsync(rotating(), { message: 'lost' });
      t.like(await status({ ...way, ...trusted }), { closed: null });
    }
    lose = '';
    const { instance_key } = await rotating();
    t.not(instance_key, way.instance_key);
    t.like(await status({ ...way, instance_key }), { closed: null });
    await t.throwsAsync(status(way), { message: /signature isn't the instance's/ });
    await t.throwsAsync(ask(way, 'rotate-instance-key', { step: 'commit' }), { message: /no next key/ });

    await box.exec('fail2ban-client set sshd banip 192.0.2.7; fail2ban-client set clawdy-gate banip 2001:db8::');
    const said = await ask(way, 'bans', { nonce: 'asked' });
    const { bans } = readSigned(said, bansSchema, { ...way, instance_key, purpose: 'bans', nonce: 'asked' });
    t.deepEqual(bans.map(({ jail, address }) => [jail, address]).sort(), [
      ['clawdy-gate', '2001:db8::'],
      ['sshd', '192.0.2.7'],
    ]);
    t.true(bans.every(({ since, until }) => until === null || until > since));
    t.throws(() => readSigned(said, bansSchema, { ...way, instance_key, purpose: 'status', nonce: 'asked' }), {
      message: /signature isn't/,
    });
  });
});
