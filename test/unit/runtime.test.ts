import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { beMorePatient } from '../../src/bake/runtime.ts';
import { BuildError } from '../../src/process/errors.ts';

const SHARED = 'dist/openclaw-state-lease-heartbeat-shared-abc.mjs';
const WORKER = 'dist/state/openclaw-state-lease-heartbeat.worker.js';
const NUMBER = 'const LEASE_HEARTBEAT_START_TIMEOUT_MS = 5e3;';

/** A package as far as the bake looks at it; `files` replace or add, undefined leaves one out. */
function withPackage(files: Record<string, string | undefined>, body: (dir: string) => void): void {
  const dir = mkdtempSync(join(tmpdir(), 'clawdy-runtime-'));
  try {
    mkdirSync(join(dir, 'dist/state'), { recursive: true });
    const all = { [SHARED]: `a\n${NUMBER}\nb 5e3\n`, [WORKER]: `c\n${NUMBER}\nd\n`, ...files };
    for (const [name, text] of Object.entries(all)) if (text !== undefined) writeFileSync(join(dir, name), text);
    body(dir);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

test('one number of OpenClaw is changed in its two files, and nothing else', (t) => {
  withPackage({}, (dir) => {
    beMorePatient(dir);
    const patient = NUMBER.replace('5e3', '60e3');
    t.is(readFileSync(join(dir, SHARED), 'utf8'), `a\n${patient}\nb 5e3\n`);
    t.is(readFileSync(join(dir, WORKER), 'utf8'), `c\n${patient}\nd\n`);
  });
});

for (const [what, files] of [
  ['no worker', { [WORKER]: undefined }],
  ['no shared file', { [SHARED]: undefined }],
  ['two shared files', { 'dist/openclaw-state-lease-heartbeat-shared-def.mjs': NUMBER }],
  ['another number', { [WORKER]: NUMBER.replace('5e3', '9e3') }],
  ['the number twice', { [WORKER]: `${NUMBER}\n${NUMBER}\n` }],
] as const) {
  test(`an OpenClaw that looks otherwise stops the bake: ${what}`, (t) => {
    withPackage(files, (dir) => {
      const error = t.throws(() => beMorePatient(dir), { instanceOf: BuildError });
      t.regex(error?.hint ?? '', /adr\/0017/);
    });
  });
}
