import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import test from 'ava';
import type { Bundle } from '../../src/contract/enrolment.ts';
import { bundleFromConsole } from '../../src/launch/console-bundle.ts';
import { openBundle } from '../../src/launch/open-bundle.ts';
import { run } from '../../src/process/run.ts';
import { waitForLine } from '../../src/verify/stages/ready.ts';
import type { ContainerTarget } from '../../src/verify/targets/container.ts';
import { ROOT, userData } from '../image.ts';
import { facts, keys, login, READY, reasons, SHUT, secrets, settled, TOKEN, withBox, work } from './boxes.ts';

const FULL = process.env.CLAWDY_FULL === '1';

// The code is minted once, leaves the box sealed, and its plaintext is nowhere on it.

let identity: string;
const launch = { recipient: '', token: TOKEN };
test.before(async () => {
  identity = await generateX25519Identity();
  launch.recipient = await identityToRecipient(identity);
});

const END = /clawdy: bundle end sha256=/;
const SEALED = '/var/lib/clawdy/state/sealed';

/** The bundle that the box showed on its console, opened as a launcher does. */
function opened(console: string, instanceId = 'i-container'): Promise<Bundle> {
  const sealed = bundleFromConsole(console);
  if (!sealed) throw new Error('no bundle on the console');
  return openBundle(sealed, { identity, token: TOKEN, launchId: 'test-launch', instanceId, isTaken: () => false });
}

const digest = async (box: ContainerTarget) => (await box.exec(`cat ${SEALED}/code.sha256`)).stdout.trim();
const digestOf = (code: string) => createHash('sha256').update(code).digest('hex').toUpperCase();

/** Runs test/attacks/find-secret in the box; the secret goes by standard input alone. */
async function search(box: ContainerTarget, secret: string, ...words: string[]): Promise<string[]> {
  const id = (await box.exec('cat /etc/hostname')).stdout.trim();
  const script = readFileSync(join(ROOT, 'test', 'attacks', 'find-secret'), 'utf8');
  const { stdout } = await run('docker', ['exec', '-i', id, 'python3', '-I', '-c', script, ...words], {
    step: 'search',
    input: secret,
  });
  return stdout.split('\n').filter(Boolean).sort();
}

test.serial(
  'the bundle tells this box’s code, port and host key, and the box keeps the code’s digest only',
  async (t) => {
    await withBox({ asleep: true, userData: userData(launch) }, async (box) => {
      const console = await waitForLine(box, END);
      const bundle = await opened(console);
      const [, port, fingerprint] = READY.exec(console) ?? [];
      t.is(bundle.ssh.port, Number(port));
      const key = Buffer.from(bundle.ssh.hostKeys[0]?.split(' ')[1] as string, 'base64');
      t.is(fingerprint, `SHA256:${createHash('sha256').update(key).digest('base64').replace('=', '')}`);
      t.is(bundle.imageId, (await box.exec('jq -r .id /usr/lib/clawdy/image.json')).stdout.trim());
      t.is(await digest(box), digestOf(bundle.code));
      t.is(
        (await box.exec(`stat -c '%n %a %U' ${SEALED} ${SEALED}/*`)).stdout,
        `${SEALED} 700 root\n${SEALED}/bundle.age 600 root\n${SEALED}/code.sha256 600 root\n`,
      );

      // Over SSH, where a cloud shows no console: the agent's uid, the only one with a shell, reads the same.
      const told = await box.exec('setpriv --reuid 7860 --regid 7860 --clear-groups /usr/lib/clawdy/boot/tell');
      t.deepEqual(await opened(told.stdout), bundle);
      t.regex(
        told.stdout,
        new RegExp(`^clawdy: image ${bundle.imageId}\\nclawdy: checked: \\d+ static checks passed\\n`),
      );
      t.is(told.stderr, '');

      t.deepEqual(await search(box, bundle.code), []);
      // The search finds what is there: in a file, in the journal, in a program's arguments and in its environment.
      t.deepEqual(await search(box, bundle.code, 'plant'), ['arguments', 'environment', 'file', 'journal']);
      t.false(console.includes(TOKEN));
    });
  },
);

test.serial('without a recipient no code is minted, and the boot goes on', async (t) => {
  await withBox({ asleep: true, userData: userData({}) }, async (box) => {
    const console = await settled(box);
    t.regex(console, READY);
    t.regex(console, /clawdy: launch\.json names no recipient: no code is minted/);
    t.notRegex(console, /clawdy: bundle/);
    t.is((await box.exec(`test ! -e ${SEALED} && test -e /run/clawdy/stamps/seal`)).exitCode, 0);
    t.is((await box.exec('systemctl is-failed clawdy-enrol.service')).stdout.trim(), 'inactive');
  });
});

test.serial(
  'a reboot keeps all secrets; a disk that wakes up in another instance stays closed unless told what to do',
  async (t) => {
    const state = join(work, 'sealed.tar');
    const told = { ...launch, userKeys: [keys.one] };
    const metaData = { 'public-keys': [keys.two] };
    const boxOf = { asleep: true, instanceId: 'i-a', userData: userData(told), metaData };
    const first = await withBox(boxOf, async (box) => {
      const console = await waitForLine(box, END);
      const port = READY.exec(console)?.[1] ?? '';
      t.is(await login(box, port, 'one'), 'clawdy');
      t.is(await login(box, port, 'two'), '', 'launch.json names the keys, so those of the metadata do not count');
      const { stdout } = await box.exec('tar -C /var/lib/clawdy -cf - state | base64 -w 0');
      writeFileSync(state, Buffer.from(stdout, 'base64'));
      const made = { secrets: await secrets(box), digest: await digest(box), sealed: bundleFromConsole(console) };
      return { ...made, bundle: await opened(console, 'i-a') };
    });
    t.is(Object.keys(first.secrets).length, 4);

    const wakeUp = <T>(instanceId: string, more: object, body: (box: ContainerTarget) => Promise<T>) =>
      withBox(
        {
          ...{ asleep: true, instanceId },
          userData: userData({ ...told, ...more }),
          spoil: 'mkdir -p /var/lib/clawdy && tar -C /var/lib/clawdy -xpf /var/tmp/state.tar',
        },
        body,
        { target: '/var/tmp/state.tar', source: state },
      );
    const keptAll = async (box: ContainerTarget) => {
      const console = await waitForLine(box, END);
      t.deepEqual(await secrets(box), first.secrets);
      t.is(await digest(box), first.digest);
      t.deepEqual(bundleFromConsole(console), first.sealed);
      t.is(await login(box, READY.exec(console)?.[1] ?? '', 'one'), 'clawdy');
    };

    await wakeUp('i-a', {}, keptAll);
    await wakeUp('i-b', {}, async (box) => {
      const console = await settled(box);
      t.regex(reasons(console), /i-a.*i-b.*adopt.*renew/);
      t.notRegex(console, READY);
      t.like(await facts(box), SHUT);
      t.deepEqual(await secrets(box), first.secrets, 'refusing changes nothing');
      t.is(await digest(box), first.digest);
    });
    await wakeUp('i-b', { clone: 'adopt' }, async (box) => {
      await keptAll(box);
      t.is((await box.exec('jq -r .clone /var/lib/clawdy/state/launch.json')).stdout.trim(), 'adopt');
      t.is((await box.exec('cat /var/lib/clawdy/state/instance-id')).stdout.trim(), 'i-b');
    });
    await wakeUp('i-b', { clone: 'renew' }, async (box) => {
      const console = await waitForLine(box, END);
      const bundle = await opened(console, 'i-b');
      t.not(bundle.code, first.bundle.code);
      t.not(bundle.ssh.hostKeys[0], first.bundle.ssh.hostKeys[0]);
      t.is(await digest(box), digestOf(bundle.code));
      const now = await secrets(box);
      t.deepEqual(Object.keys(now), Object.keys(first.secrets));
      const same = Object.keys(now).filter((path) => now[path] === first.secrets[path]);
      t.deepEqual(same, [], 'nothing of the old instance is left');
      t.is(await login(box, READY.exec(console)?.[1] ?? '', 'one'), 'clawdy');
    });
    if (!FULL) return;
    await wakeUp('i-b', { recipient: undefined, token: undefined, clone: 'renew' }, async (box) => {
      t.notRegex(await waitForLine(box, READY), /clawdy: bundle/);
      t.is((await box.exec(`test -e ${SEALED}`)).exitCode, 1, 'no code, and not the old one’s either');
      const now = await secrets(box);
      const same = Object.keys(now).filter((path) => now[path] === first.secrets[path]);
      t.deepEqual(same, []);
    });
  },
);

// Cut at sixty points of twice the time that one takes uncut.
test.serial('a sealing that is cut anywhere leaves both files or none, and the next one ends well', async (t) => {
  await withBox({ asleep: true, userData: userData(launch) }, async (box) => {
    await waitForLine(box, END);
    const { stdout } = await box.exec(
      `
rm -rf ${SEALED}
began=$(date +%s%N)
/usr/lib/clawdy/boot/seal >/dev/null
took=$(( ($(date +%s%N) - began) / 1000000 ))
for cut in $(seq 1 60); do
  rm -rf ${SEALED}
  at=$((took * cut / 30))
  timeout -s KILL "$((at / 1000)).$(printf %03d $((at % 1000)))" /usr/lib/clawdy/boot/seal >/dev/null 2>&1
  ended=$?
  mkdir -p /var/lib/clawdy/state/sealed.new.planted
  if [ ! -e ${SEALED} ]; then echo "$ended none"; else echo "$ended $(ls ${SEALED} | xargs) $(grep -cx '[0-9A-F]\\{64\\}' ${SEALED}/code.sha256)"; fi
done
rm -rf ${SEALED}
/usr/lib/clawdy/boot/seal >/dev/null && ls -d ${SEALED}* ${SEALED}/*`,
      { timeout: 180_000 },
    );
    const lines = stdout.trim().split('\n');
    const cuts = lines.slice(0, 60);
    t.deepEqual([...new Set(cuts.map((line) => line.replace(/^\d+ /, '')))].sort(), [
      'bundle.age code.sha256 1',
      'none',
    ]);
    t.true(
      cuts.some((line) => line === '137 none'),
      'some were cut',
    );
    t.deepEqual(lines.slice(60), [SEALED, `${SEALED}/bundle.age`, `${SEALED}/code.sha256`]);
  });
});

test.serial('a damaged seal is not replaced: the box says so, and leaves SSH for mending', async (t) => {
  const spoil = `install -d -m 0700 /var/lib/clawdy/state ${SEALED} && echo 00 >${SEALED}/code.sha256 && echo x >${SEALED}/bundle.age`;
  await withBox({ asleep: true, spoil, userData: userData(launch) }, async (box) => {
    const console = await settled(box);
    t.regex(reasons(console), /sealed is damaged/);
    t.notRegex(console, READY);
    t.like(await facts(box), { ssh: 'active' });
    t.is(await digest(box), '00');
  });
});
