import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { AGENT, OPENCLAW_PORT, PATHS, SSH_PORTS } from '../../src/contract/box.ts';
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
