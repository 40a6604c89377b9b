import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { AGENT, OPENCLAW_PORT, PATHS, SSH_PORTS } from '../../src/contract/box.ts';
import {
  APP_PORTS,
  FAILURES_A_MINUTE,
  GATE_ANSWERS,
  GATE_HEADERS,
  GATE_PORT,
  RESERVED_PORTS,
  USER_PATTERN,
} from '../../src/contract/gate.ts';
import { listFiles } from '../../src/manifest/layers.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const box = [...listFiles(join(ROOT, 'rootfs')), ...listFiles(join(ROOT, 'layers'))].filter(
  (file) => !file.includes('/runtime/package'),
);
const all = box.map((file) => readFileSync(file, 'utf8')).join('\n');

test('the box and the contract name the same port, account and places', (t) => {
  t.regex(all, new RegExp(`useradd[^\n]*${AGENT.uid}|--uid ${AGENT.uid}|u ${AGENT.name} ${AGENT.uid}`));
  t.regex(all, new RegExp(`--port ${OPENCLAW_PORT}`));
  for (const path of [PATHS.lib, PATHS.runtime, PATHS.state, PATHS.home, PATHS.run]) t.true(all.includes(path), path);
});

test('nothing on the box asks whether it is being tested', (t) => {
  t.notRegex(all, /\bCI\b=|\$\{?CI\b|systemd-detect-virt|ConditionVirtualization|\/\.dockerenv|CLAWDY_TEST/);
});

/** The part of identity.d/03-ssh that reads, judges and draws the port, as the box runs it. */
const drawing = /^port=\$\(cat .*?^if .*?^fi$/ms.exec(
  readFileSync(join(ROOT, 'layers/03-ssh/rootfs/usr/lib/clawdy/identity.d/03-ssh'), 'utf8'),
)?.[0];

/**
 * Runs that part in a folder of its own, once for each stored port ('' for none), and gives the ports it came to.
 * @param random what its source of randomness says, in order; without it, the kernel's.
 */
function draw(stored: string[], identity: 'keep' | 'renew' = 'keep', random?: number[]): number[] {
  if (!drawing) throw new Error('identity.d/03-ssh draws its port in another way: this test must follow it');
  const state = mkdtempSync(join(tmpdir(), 'clawdy-port-'));
  try {
    writeFileSync(join(state, 'random'), (random ?? []).map((value) => ` ${value}\n`).join(''));
    const script = `set -eu
state=$1 CLAWDY_IDENTITY=$2
store() { cat >"$2"; }
${random ? 'od() { head -n 1 "$state/random"; sed -i 1d "$state/random"; }' : ''}
shift 2
for stored; do
rm -f "$state/port"
[ -z "$stored" ] || printf '%s\\n' "$stored" >"$state/port"
${drawing}
[ "$(cat "$state/port")" = "$port" ]
echo "$port"
done
[ ! -s "$state/random" ]`;
    const { status, stdout, stderr } = spawnSync('sh', ['-c', script, 'sh', state, identity, ...stored], {
      encoding: 'utf8',
      timeout: 60_000,
    });
    if (status !== 0) throw new Error(`exit ${status}: ${stdout}${stderr}`);
    return stdout.trim().split('\n').map(Number);
  } finally {
    rmSync(state, { recursive: true });
  }
}

test('the ports that first boots draw are spread over the whole range of the contract', (t) => {
  const ports = draw(Array(120).fill(''));
  t.is(ports.length, 120);
  t.deepEqual(
    ports.filter((port) => !(port >= SSH_PORTS.first && port <= SSH_PORTS.last)),
    [],
  );
  // 120 draws of 12,768: one pair coincides in every other run, ten in none. A tenth of the range stays empty at either
  // end in one run of 150,000.
  t.true(new Set(ports).size >= 110, `${new Set(ports).size} different ports`);
  const tenth = (SSH_PORTS.last - SSH_PORTS.first + 1) / 10;
  t.true(Math.min(...ports) < SSH_PORTS.first + tenth, `smallest: ${Math.min(...ports)}`);
  t.true(Math.max(...ports) > SSH_PORTS.last - tenth, `largest: ${Math.max(...ports)}`);
});

test('both ends of the range are drawn, and what would make some ports likelier is drawn anew', (t) => {
  const count = SSH_PORTS.last - SSH_PORTS.first + 1;
  const even = Math.floor(65_536 / count) * count;
  t.deepEqual(draw(['', '', ''], 'keep', [0, count - 1, count]), [SSH_PORTS.first, SSH_PORTS.last, SSH_PORTS.first]);
  t.deepEqual(draw([''], 'keep', [65_535, even, even - 1]), [SSH_PORTS.last]);
});

test('a stored port stays if it is in the range, unless the identity is renewed', (t) => {
  const inside = [String(SSH_PORTS.first), '25555', String(SSH_PORTS.last)];
  t.deepEqual(draw(inside, 'keep', []), inside.map(Number));
  const outside = [String(SSH_PORTS.first - 1), String(SSH_PORTS.last + 1), '22', '40000', '2e4', '25555x', '-1'];
  t.deepEqual(
    draw(
      outside,
      'keep',
      outside.map((_, index) => index),
    ),
    outside.map((_, index) => SSH_PORTS.first + index),
  );
  t.deepEqual(
    draw(inside, 'renew', [7, 8, 9]),
    [7, 8, 9].map((value) => SSH_PORTS.first + value),
  );
});

const gate = listFiles(join(ROOT, 'layers'))
  .filter((file) => file.includes('/usr/lib/clawdy/gate/'))
  .map((file) => readFileSync(file, 'utf8'))
  .join('\n');

test('the gate speaks the contract: port, headers, user, throttle', (t) => {
  for (const every of ['', '[::]']) t.true(gate.includes(`  bind ${every}:${GATE_PORT} `), every);
  for (const header of Object.values(GATE_HEADERS)) t.true(gate.includes(`req.fhdr_cnt(${header})`), header);
  t.true(gate.includes(`-m reg ${USER_PATTERN.source}\n`));
  t.true(gate.includes(`sc0_gpc0_rate gt ${FAILURES_A_MINUTE} `));
});

test("the gate's answers are the contract's, and it has no others", (t) => {
  const said = [
    ...gate.matchAll(/status (\d+) content-type application\/json string "\{\\"error\\":\\"(\w+)\\"\}"/g),
  ].map(([, status, word]) => `${word} ${status}`);
  const files = [...gate.matchAll(/^HTTP\/1\.1 (\d+) [^\0]*?\{"error":"(\w+)"\}/gm)].map(
    ([, status, word]) => `${word} ${status}`,
  );
  t.deepEqual(
    [...new Set([...said, ...files])].sort(),
    Object.entries(GATE_ANSWERS)
      .map(([word, status]) => `${word} ${status}`)
      .sort(),
  );
});

test('the ports that the gate lets apps have are all but the reserved ones', (t) => {
  const allowed = /add\(0\) -m int ([\d: ]+) \}/
    .exec(gate)?.[1]
    ?.split(' ')
    .map((range) => range.split(':').map(Number));
  const want: number[][] = [];
  let first: number = APP_PORTS.first;
  for (const reserved of RESERVED_PORTS) {
    want.push([first, reserved.first - 1]);
    first = reserved.last + 1;
  }
  t.deepEqual(allowed, [...want, [first, APP_PORTS.last]]);
});

test('the gate document names every header and every answer', (t) => {
  const document = readFileSync(join(ROOT, 'docs/gate-protocol.md'), 'utf8').toLowerCase();
  for (const header of Object.values(GATE_HEADERS)) t.true(document.includes(`\`${header}\``), header);
  for (const [word, status] of Object.entries(GATE_ANSWERS)) {
    t.regex(document, new RegExp(`\\| ${status} \\| \`${word}\` \\|`));
  }
});
