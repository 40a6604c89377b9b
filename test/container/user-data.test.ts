import test from 'ava';
import type { ContainerTarget } from '../../src/verify/targets/container.ts';
import { userData } from '../image.ts';
import { facts, keys, peer, READY, reasons, SHUT, settled, TOKEN, withBox } from './boxes.ts';

// What a cloud hands over as user-data is launch.json in one form, and nothing else.

const FULL = process.env.CLAWDY_FULL === '1';

const launchFile = (content: string) => ({ path: '/run/clawdy/launch.json', content });
const cloudConfig = (document: object) => `#cloud-config\n${JSON.stringify(document)}\n`;
/** An age recipient whose key nobody has. */
const RECIPIENT = `age1${'q'.repeat(58)}`;
const sound = JSON.stringify({ version: 1, launchId: 'test-launch', token: TOKEN });

type Form = [what: string, data: string, reason: RegExp];

/** One form for each way in which cloud-init itself would act. */
const active: Form[] = [
  ['runcmd', cloudConfig({ write_files: [launchFile(sound)], runcmd: ['touch /var/lib/pwned'] }), /user-data/],
  ['another file', cloudConfig({ write_files: [{ path: '/var/lib/pwned', content: sound }] }), /write_files/],
  ['a script', `#!/bin/sh\ntouch /var/lib/pwned # ${TOKEN}\n`, /user-data/],
  [
    'several parts',
    `Content-Type: multipart/mixed; boundary="b"\nMIME-Version: 1.0\n\n--b\nContent-Type: text/x-shellscript\n\n#!/bin/sh\ntouch /var/lib/pwned # ${TOKEN}\n--b--\n`,
    /user-data/,
  ],
];

const passive: Form[] = [
  [
    'a second file',
    cloudConfig({ write_files: [launchFile(sound), { path: '/var/lib/pwned', content: TOKEN }] }),
    /write_files/,
  ],
  ['more than 64 KiB', `${userData({ token: TOKEN })}#${'x'.repeat(65 * 1024)}\n`, /larger/],
  ['a launch.json of more than 16 KiB', userData({ token: TOKEN, launchId: 'x'.repeat(17 * 1024) }), /larger/],
  ['an unknown member, named like a secret', userData({ token: TOKEN, [TOKEN]: true }), /known/],
  ['a value of the wrong type', userData({ recipient: RECIPIENT, token: [TOKEN] }), /token/],
  ['a token of the wrong form', userData({ recipient: RECIPIENT, token: `${TOKEN}!` }), /token/],
  ['a recipient without a token', userData({ recipient: RECIPIENT }), /recipient/],
  ['a token without a recipient', userData({ token: TOKEN }), /recipient/],
  ['an enrolment URL without a recipient', userData({ enrolmentUrl: 'https://example.com/enrol' }), /recipient/],
];

for (const [what, data, reason] of [...active, ...(FULL ? passive : [])]) {
  test.serial(`user-data with ${what} leaves the box closed and isn’t echoed`, async (t) => {
    await withBox({ userData: data, metaData: { 'public-keys': [keys.one] } }, async (box) => {
      const console = await settled(box);
      t.regex(reasons(console), /launch\.json refused/);
      t.regex(reasons(console), reason);
      t.notRegex(console, READY);
      t.like(await facts(box), SHUT);
      t.not((await box.exec('test -e /var/lib/pwned')).exitCode, 0);
      t.false(console.includes(TOKEN), 'on the console');
      t.is(await leaks(box), '');
    });
  });
}

/** cloud-init stores the user-data as it came, below a folder of root's; nobody else may repeat it. */
async function leaks(box: ContainerTarget): Promise<string> {
  return (await box.exec(`grep -rlsF -e ${TOKEN} /run/clawdy /run/log /var/log /var/lib/clawdy /tmp`)).stdout.trim();
}

// The boot's own step, asked again on a box whose first answer was no: a boot of each is for the full run.
test.serial('every other form of user-data is refused with its reason, and not echoed', async (t) => {
  await withBox({ asleep: true, userData: '#!/bin/sh\n' }, async (box) => {
    await settled(box);
    const said = async () => (await box.exec('journalctl --sync && journalctl --boot --output=cat --no-pager')).stdout;
    const step = async (data: string) => {
      await box.put('/var/tmp/data', data, '0600');
      const { exitCode } = await box.exec('mv /var/tmp/data /var/lib/cloud/instance/user-data.txt');
      t.is(exitCode, 0);
      return box.exec('systemctl reset-failed clawdy-config.service; systemctl restart clawdy-config.service');
    };
    let before = reasons(await said()).split('\n');
    for (const [what, data, reason] of passive) {
      t.is((await step(data)).exitCode, 1, what);
      const console = await said();
      const now = reasons(console).split('\n');
      t.is(now.length, before.length + 1, what);
      t.regex(now.at(-1) as string, /launch\.json refused/, what);
      t.regex(now.at(-1) as string, reason, what);
      t.false(console.includes(TOKEN), what);
      t.is(await leaks(box), '', what);
      before = now;
    }
    t.like(await facts(box), SHUT);
    t.is((await step(userData({ token: TOKEN, recipient: RECIPIENT }))).exitCode, 0, 'and the right form is taken');
    t.not(await leaks(box), '', 'where it is looked for');
  });
});

test.serial('user-data with an include leaves the box closed', async (t) => {
  await withBox({ userData: `#include\n# ${TOKEN}\n`, metaData: { 'public-keys': [keys.one] } }, async (box) => {
    const console = await settled(box);
    t.regex(reasons(console), /launch\.json refused: .*user-data/);
    t.notRegex(console, READY);
    t.like(await facts(box), SHUT);
    t.false(console.includes(TOKEN));
  });
});

// cloud-init 25.1 fetches what an #include names while it stores the user-data, before allow_userdata: false is asked
// (Init._store_userdata), and logs the address. Nothing that it fetches is acted on.
const ACCEPTED_UNTIL = '2027-02-28';

test.serial(`the known failure below is accepted until ${ACCEPTED_UNTIL}`, (t) => {
  t.true(new Date() < new Date(ACCEPTED_UNTIL), 'stop the fetch, or decide anew (docs/adr/0003)');
});

test.serial.failing('an include isn’t even fetched', async (t) => {
  await peer.exec('cd /srv && echo >included; setsid python3 -m http.server 8000 >/var/tmp/asked 2>&1 &');
  await withBox({ userData: `#include\nhttp://${peer.addresses.v4}:8000/included\n` }, async (box) => {
    t.regex(reasons(await settled(box)), /launch\.json refused/);
    t.notRegex((await peer.exec('cat /var/tmp/asked')).stdout, /GET \/included/);
  });
});
