import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { type Given, readGiven } from '../../src/bake/given.ts';
import { archivePayload } from '../../src/bake/payload.ts';
import { loadLayers } from '../../src/manifest/layers.ts';
import { EXIT } from '../../src/process/errors.ts';
import { run } from '../../src/process/run.ts';

// What whoever bakes gives to a layer: Cloudflare's connector.

const ROOT = join(import.meta.dirname, '../..');
const layers = loadLayers(ROOT);
const work = mkdtempSync(join(tmpdir(), 'clawdy-given-'));
const file = join(work, 'cloudflared');
const body = '#!/bin/sh\necho a connector\n';
const digest = createHash('sha256').update(body).digest('hex');
const PLACE = './usr/lib/clawdy/tunnel/cloudflared';

test.before(() => writeFileSync(file, body));
test.after.always(() => rmSync(work, { recursive: true }));

/** Layer 06's overlay as the guest gets it, listed with owners and modes. */
async function overlay(name: string, given: Given[]): Promise<string> {
  const folder = join(work, name);
  const tar = `${folder}.tar`;
  mkdirSync(folder);
  await archivePayload(layers, ROOT, folder, tar, { id: 'test' }, given);
  await run('tar', ['-C', folder, '-xf', tar, './06-cloudflare/overlay.tar'], { step: 'test' });
  const list = ['--numeric-owner', '-tvf', join(folder, '06-cloudflare/overlay.tar')];
  return (await run('tar', list, { step: 'test' })).stdout;
}

test('a file with its right digest ends in the layer that declares it, root’s and executable; without one there is none', async (t) => {
  const given = readGiven(layers, 'cloudflared', file, digest.toUpperCase());
  t.is(given.sha256, digest);
  const line = (await overlay('with', [given])).split('\n').find((entry) => entry.endsWith(PLACE));
  t.regex(line ?? '', new RegExp(`^-rwxr-xr-x 0/0 +${body.length} `));
  t.false((await overlay('without', [])).includes(PLACE));
});

test('another digest, none that is one, no such file, and a file that no layer takes are refused', (t) => {
  const refused = (name: string, path: string, sha256: string, message: RegExp) =>
    t.throws(() => readGiven(layers, name, path, sha256), { message }, name);
  refused(
    'cloudflared',
    file,
    digest.replace(/^./, (digit) => (digit === '0' ? '1' : '0')),
    /has the SHA-256 .*, not/,
  );
  refused('cloudflared', file, 'abc', /is no SHA-256/);
  refused('cloudflared', join(work, 'nowhere'), digest, /--cloudflared: ENOENT/);
  refused('something', file, digest, /no layer takes something/);
});

test('the command refuses it before it does anything', async (t) => {
  const bake = (...flags: string[]) =>
    run('node', [join(ROOT, 'build.ts'), 'bake', '--plan', ...flags], { step: 'test', ok: [EXIT.input] });
  const wrong = await bake('--cloudflared', file, '--cloudflared-sha256', 'a'.repeat(64));
  t.regex(wrong.stderr, /has the SHA-256 [0-9a-f]{64}, not a{64}/);
  t.notRegex(wrong.stderr, /resolve packages/);
  t.regex((await bake('--cloudflared', file)).stderr, /--cloudflared-sha256 is missing/);
  t.regex((await bake('--cloudflared-sha256', digest)).stderr, /--cloudflared is missing/);
});
