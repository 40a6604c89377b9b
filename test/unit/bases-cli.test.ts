import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { execa } from 'execa';
import { loadBase, type VendorBase } from '../../src/base/bases.ts';
import { resolveVendorPackages } from '../../src/base/vendor-packages.ts';
import { cacheDir } from '../../src/plan/cache.ts';
import type { Plan } from '../../src/plan/plan.ts';
import { BuildError, EXIT } from '../../src/process/errors.ts';

const ROOT = join(import.meta.dirname, '../..');
/** The project as it is, with a dist of its own, and an archive that holds whatever is asked for. */
const work = mkdtempSync(join(tmpdir(), 'clawdy-bases-cli-'));
const project = join(work, 'project');
const bin = join(work, 'bin');
process.env.XDG_CACHE_HOME = join(work, 'cache');

const ARCHIVE = `#!/bin/sh
[ -z "$ARCHIVE_DOWN" ] || { echo 'E: Unable to connect to archive' >&2; exit 25; }
for package in $CLAWDY_PACKAGES; do echo "$package 1"; done >"$CLAWDY_RESOLVED"
`;
const NOBODY_ANSWERS = `data:text/javascript,globalThis.fetch = async () => {
  throw new TypeError('fetch failed', { cause: Object.assign(new Error('nobody answers'), { code: 'ENOTFOUND' }) });
}`;

test.before(() => {
  mkdirSync(project);
  mkdirSync(bin);
  for (const name of readdirSync(ROOT).filter((name) => name !== 'dist' && name !== '.git'))
    symlinkSync(join(ROOT, name), join(project, name));
  writeFileSync(join(bin, 'mmdebstrap'), ARCHIVE);
  chmodSync(join(bin, 'mmdebstrap'), 0o755);
});
test.after.always(() => rmSync(work, { recursive: true, force: true }));

const NEUTRAL = { CI: '', CLAWDY_BASE: '', CLAWDY_BASE_MIRROR: '', CLAWDY_BASE_KEY: '' };

/** Plans a bake where no vendor's site answers. */
async function plan(flags: string[], env: Record<string, string> = {}) {
  const node = ['--preserve-symlinks-main', '--import', NOBODY_ANSWERS, join(project, 'build.ts')];
  return execa('node', [...node, 'bake', '--plan', ...flags], {
    cwd: project,
    env: { ...NEUTRAL, PATH: `${bin}:${process.env.PATH}`, ...env },
    reject: false,
  });
}

test.serial('a plan says whether its base is the one that was asked for', async (t) => {
  const fallen = JSON.parse((await plan(['--json'])).stdout) as Plan;
  t.is(fallen.base, 'debian-13');
  t.is(fallen.fallback?.requested, 'ubuntu-24.04');
  t.regex(fallen.fallback?.reason ?? '', /nobody answers/);
  t.regex((await plan([])).stdout, /^fallback: instead of ubuntu-24\.04: .*nobody answers$/m);
  const named = await plan(['--json', '--base', 'debian-13']);
  t.is((JSON.parse(named.stdout) as Plan).fallback, null);
  t.regex((await plan(['--base', 'debian-13'])).stdout, /^fallback: none$/m);
});

test.serial('a file that is given to a layer is one of the inputs, by its content', async (t) => {
  const hashWith = async (content: string) => {
    const [file, digest] = [join(work, 'given'), createHash('sha256').update(content).digest('hex')];
    writeFileSync(file, content);
    const flags = ['--cloudflared', file, '--cloudflared-sha256', digest];
    return (JSON.parse((await plan(['--json', '--base', 'debian-13', ...flags])).stdout) as Plan).inputHash;
  };
  const without = (JSON.parse((await plan(['--json', '--base', 'debian-13'])).stdout) as Plan).inputHash;
  const [one, other, oneAgain] = [await hashWith('one'), await hashWith('other'), await hashWith('one')];
  t.is(new Set([without, one, other]).size, 3);
  t.is(oneAgain, one);
});

test.serial('in CI nothing is replaced', async (t) => {
  const refused = await plan(['--json'], { CI: '1' });
  t.is(refused.exitCode, EXIT.failed);
  t.is(refused.stdout, '');
  t.regex(refused.stderr, /nobody answers[\s\S]*next: .*name a base, CLAWDY_BASE=debian-13/);
  t.is((await plan(['--json'], { CI: '1', CLAWDY_BASE: 'debian-13' })).exitCode, 0);
});

test.serial("a vendor's place in the environment is about vendors' bases; a flag is about this bake", async (t) => {
  const env = { CLAWDY_BASE_MIRROR: '/nowhere', CLAWDY_BASE_KEY: '/nowhere/key' };
  t.is((await plan(['--base', 'debian-13'], env)).exitCode, 0);
  const flag = await plan(['--base', 'debian-13', '--base-mirror', '/nowhere']);
  t.is(flag.exitCode, EXIT.input);
  t.regex(flag.stderr, /no vendor's image/);
  t.regex((await plan(['--base', 'ubuntu-24.04'], env)).stderr, /\/nowhere\/SHA256SUMS: ENOENT/);
});

test.serial("a vendor's archive that isn't reached is named, with what to do", async (t) => {
  const image = { file: join(work, 'none.img'), sha256: 'a'.repeat(64), from: work };
  const status = cacheDir('vendor-status', image.sha256);
  mkdirSync(status, { recursive: true });
  writeFileSync(join(status, 'status'), 'Package: libc6\nStatus: install ok installed\nVersion: 2\n\n');
  const path = process.env.PATH;
  Object.assign(process.env, { PATH: `${bin}:${path}`, ARCHIVE_DOWN: '1' });
  t.teardown(() => {
    delete process.env.ARCHIVE_DOWN;
    process.env.PATH = path;
  });
  const ubuntu = loadBase('ubuntu-24.04') as VendorBase;
  const error = await t.throwsAsync(resolveVendorPackages(ubuntu, image, ['ufw'], join(work, 'log')), {
    instanceOf: BuildError,
  });
  t.regex(error?.message ?? '', /its archive, http:\/\/archive\.ubuntu\.com\/ubuntu, .*mmdebstrap exited with 25/);
  t.regex(error?.hint ?? '', /--base debian-13/);
  t.regex(error?.tail ?? '', /Unable to connect/);
});
