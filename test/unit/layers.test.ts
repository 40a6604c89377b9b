import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { loadLayers } from '../../src/manifest/layers.ts';
import { loadClaims } from '../../src/verify/claims/load.ts';

const ROOT = join(import.meta.dirname, '..', '..');

/** A copy of the project's layers that a test may spoil. */
function copy(): string {
  const root = mkdtempSync(join(tmpdir(), 'clawdy-layers-'));
  for (const folder of ['layers', 'rootfs', 'test/attacks'])
    cpSync(join(ROOT, folder), join(root, folder), { recursive: true, verbatimSymlinks: true });
  return root;
}

function edit(root: string, file: string, from: string | RegExp, to: string): void {
  const path = join(root, file);
  const text = readFileSync(path, 'utf8');
  const changed = text.replace(from, to);
  if (changed === text) throw new Error(`${file}: nothing to replace`);
  writeFileSync(path, changed);
}

test('the project has rootfs and eight layers, in order, and claims for each active one', (t) => {
  const layers = loadLayers(ROOT);
  t.deepEqual(
    layers.map(({ name }) => name.slice(0, 2)),
    ['00', '01', '02', '03', '04', '05', '06', '07', '08'],
  );
  const claims = loadClaims(ROOT, layers);
  for (const layer of layers.filter(({ state }) => state === 'active'))
    t.true(claims.some((claim) => claim.layer === layer));
});

test('a ninth layer is one more folder', (t) => {
  const root = copy();
  mkdirSync(join(root, 'layers', '09-audit'));
  writeFileSync(join(root, 'layers', '09-audit', 'layer.yaml'), 'id: audit\ntitle: A\npromise: P\nstate: planned\n');
  t.is(loadLayers(root).at(-1)?.name, '09-audit');
});

const spoilt: [string, (root: string) => void, RegExp][] = [
  [
    'an unknown needs',
    (root) => edit(root, 'layers/03-ssh/layer.yaml', 'state: active', 'state: active\nneeds: [09-moon]'),
    /layer\.yaml:\d+: needs 09-moon/,
  ],
  [
    'needs against the numbers',
    (root) => edit(root, 'layers/01-loopback/layer.yaml', 'state: active', 'state: active\nneeds: [03-ssh]'),
    /applied later/,
  ],
  [
    'two owners of a path',
    (root) => {
      edit(root, 'layers/01-loopback/layer.yaml', 'overlay:', 'overlay:\n  /etc/demo: { mode: "0644" }');
      edit(root, 'layers/03-ssh/layer.yaml', 'overlay:', 'overlay:\n  /etc/demo: { mode: "0644" }');
      for (const name of ['01-loopback', '03-ssh']) {
        mkdirSync(join(root, 'layers', name, 'rootfs/etc'), { recursive: true });
        writeFileSync(join(root, 'layers', name, 'rootfs/etc/demo'), '');
      }
    },
    /\/etc\/demo belongs to 01-loopback/,
  ],
  [
    'a file that no manifest declares',
    (root) => {
      mkdirSync(join(root, 'layers/03-ssh/rootfs/etc'), { recursive: true });
      writeFileSync(join(root, 'layers/03-ssh/rootfs/etc/stray'), '');
    },
    /rootfs\/etc\/stray isn't declared/,
  ],
  [
    'a fragment under another name',
    (root) => {
      edit(
        root,
        'layers/03-ssh/layer.yaml',
        'overlay:',
        'overlay:\n  /usr/lib/clawdy/identity.d/99-x: { mode: "0755" }',
      );
      writeFileSync(join(root, 'layers/03-ssh/rootfs/usr/lib/clawdy/identity.d/99-x'), '');
    },
    /isn't named after its layer/,
  ],
  ['an id that is not its folder', (root) => edit(root, 'layers/03-ssh/layer.yaml', 'id: ssh', 'id: shh'), /id is shh/],
  ['no claims', (root) => rmSync(join(root, 'layers/03-ssh/claims.yaml')), /without a claim/],
  [
    'a claim without its script',
    (root) => edit(root, 'layers/03-ssh/claims.yaml', /run: [\w/-]+/, 'run: attacks/none'),
    /no script attacks\/none/,
  ],
];

for (const [name, spoil, message] of spoilt) {
  test(`refused: ${name}`, (t) => {
    const root = copy();
    spoil(root);
    const error = t.throws(() => loadClaims(root, loadLayers(root)));
    t.regex(error?.message ?? '', message);
  });
}

/** Leaves 03-ssh with a single claim. */
function oneClaim(root: string, control: string, attack: string, sabotage: string): void {
  writeFileSync(
    join(root, 'layers/03-ssh/claims.yaml'),
    `- id: x
  promise: P
  where: [container]
  control: { from: inside, run: connect 1, expect: ${control} }
  attack: { from: inside, run: connect 1, expect: ${attack} }
  sabotage: ${sabotage}
`,
  );
}

const vacuous: [string, string, string][] = [
  ['a control that expects to fail', 'refused', 'timeout'],
  ['a sabotage that changes nothing', 'ok', 'ok'],
];

for (const [name, control, attack] of vacuous) {
  test(`refused: ${name}`, (t) => {
    const root = copy();
    oneClaim(root, control, attack, '{ run: "true" }');
    t.throws(() => loadClaims(root, loadLayers(root)), {
      message: /claims\.yaml:\d+: .*(must succeed|must end otherwise)/,
    });
  });
}

test('refused: a missing sabotage past its end date', (t) => {
  const root = copy();
  oneClaim(root, 'ok', 'refused', '{ reason: later, until: 2026-01-01 }');
  t.throws(() => loadClaims(root, loadLayers(root)), { message: /excused until 2026-01-01/ });
  t.notThrows(() => loadClaims(root, loadLayers(root), new Date('2025-12-31')));
});
