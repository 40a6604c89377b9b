import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { AGENT, OPENCLAW_PORT, PATHS, SSH_PORTS } from '../../src/contract/box.ts';
import { listFiles } from '../../src/manifest/layers.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const box = [...listFiles(join(ROOT, 'rootfs')), ...listFiles(join(ROOT, 'layers'))].filter(
  (file) => !file.includes('/runtime/package'),
);
const all = box.map((file) => readFileSync(file, 'utf8')).join('\n');

test('the box and the contract name the same ports, account and places', (t) => {
  t.regex(
    readFileSync(join(ROOT, 'layers/03-ssh/rootfs/usr/lib/clawdy/identity.d/03-ssh'), 'utf8'),
    new RegExp(`${SSH_PORTS.first} to ${SSH_PORTS.last}`),
  );
  t.regex(all, new RegExp(`useradd[^\n]*${AGENT.uid}|--uid ${AGENT.uid}|u ${AGENT.name} ${AGENT.uid}`));
  t.regex(all, new RegExp(`--port ${OPENCLAW_PORT}`));
  for (const path of [PATHS.lib, PATHS.runtime, PATHS.state, PATHS.home, PATHS.run]) t.true(all.includes(path), path);
});

test('nothing on the box asks whether it is being tested', (t) => {
  t.notRegex(all, /\bCI\b=|\$\{?CI\b|systemd-detect-virt|ConditionVirtualization|\/\.dockerenv|CLAWDY_TEST/);
});
