import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { archivePayload, launchSchemaPath } from '../../src/bake/payload.ts';
import { PREPARED } from '../../src/bake/prepare.ts';
import { checkPaths, type Layer } from '../../src/manifest/layers.ts';
import { cacheDir } from '../../src/plan/cache.ts';
import { ContainerNetwork, ContainerPeer, importTree } from '../../src/verify/targets/container.ts';
import { imageUnderTest, LAYERS, ROOT } from '../image.ts';

/** Docker mounts these over the tree; proc, sys and dev aren't of it; the runtime is prepare's. */
const PRUNED = ['/proc', '/sys', '/dev', '/tmp', '/payload', '/usr/lib/clawdy/runtime'];
const MOUNTED = ['/etc/hostname', '/etc/hosts', '/etc/resolv.conf', '/.dockerenv'];

const active = LAYERS.filter(({ state }) => state === 'active');
let network: ContainerNetwork;
let box: ContainerPeer;

test.before(async () => {
  const { prepared } = imageUnderTest();
  const image = await importTree(
    join(cacheDir('prepared', prepared), PREPARED.tar),
    `clawdy-prepared:${prepared.slice(0, 16)}`,
  );
  network = await ContainerNetwork.create();
  box = await ContainerPeer.start({ image, network });
  const work = mkdtempSync(join(tmpdir(), 'clawdy-payload-'));
  const tar = join(work, 'payload.tar');
  await archivePayload(LAYERS, ROOT, work, tar, { id: 'test' });
  await box.copy(tar, '/payload.tar');
  rmSync(work, { recursive: true });
  const unpacked = await box.exec('mkdir /payload && tar -C /payload -xf /payload.tar && rm /payload.tar');
  if (unpacked.exitCode !== 0) throw new Error(unpacked.stderr);
});

test.after.always(async () => {
  await box?.close();
  await network?.close();
});

/** Every path of the tree with type, mode, owner, target and content. */
async function snapshot(): Promise<Map<string, string>> {
  const prune = PRUNED.map((path) => `-path ${path}`).join(' -o ');
  const script = `
find / -xdev \\( ${prune} \\) -prune -o -printf '%p\\t%y %m %U:%G %l\\n' | sort >/tmp/meta
find / -xdev \\( ${prune} \\) -prune -o -type f -print0 | xargs -0 sha256sum -z | tr '\\0' '\\n' | awk '{h=$1; sub(/^[^ ]+  /, ""); print $0 "\\t" h}' | sort >/tmp/sums
cat /tmp/meta; echo ----; cat /tmp/sums; rm /tmp/meta /tmp/sums`;
  const { stdout, exitCode, stderr } = await box.exec(script, { timeout: 300_000 });
  if (exitCode !== 0) throw new Error(stderr);
  const tree = new Map<string, string>();
  for (const line of stdout.split('\n')) {
    const [path = '', facts] = line.split('\t');
    if (facts !== undefined && !MOUNTED.includes(path)) tree.set(path, `${tree.get(path) ?? ''} ${facts}`.trim());
  }
  return tree;
}

async function apply(layer: Layer): Promise<void> {
  const { exitCode, stdout, stderr } = await box.exec(`sh /payload/apply.sh /payload ${layer.name}`);
  if (exitCode !== 0) throw new Error(`${stdout}${stderr}`);
}

function difference(before: Map<string, string>, after: Map<string, string>) {
  const added = [...after.keys()].filter((path) => !before.has(path));
  const removed = [...before.keys()].filter((path) => !after.has(path));
  const changed = [...after.keys()].filter((path) => before.has(path) && before.get(path) !== after.get(path));
  return { added: added.sort(), changed: changed.sort(), removed: removed.sort() };
}

/** What the manifest says a layer does, with the folders that its new files need. */
function declared(layer: Layer, before: Map<string, string>, after: Map<string, string>) {
  const paths = [
    ...Object.keys(layer.overlay),
    ...layer.tree.added,
    ...checkPaths(layer),
    ...(layer.launchSchema ? [launchSchemaPath(layer)] : []),
    // apply.sh itself leaves the image's name.
    ...(layer.name === '00-rootfs' ? ['/usr/lib/clawdy/image.json'] : []),
  ];
  const folders = paths.flatMap((path) => {
    const parts = path.split('/');
    return parts.slice(2).map((_, index) => parts.slice(0, index + 2).join('/'));
  });
  const isNew = (path: string) => !before.has(path);
  const plainFolders = folders.filter((path) => isNew(path) && after.get(path) === 'd 755 0:0');
  return {
    added: [...new Set([...paths.filter(isNew), ...plainFolders])].sort(),
    changed: [...layer.tree.changed, ...paths.filter((path) => !isNew(path))].sort(),
    removed: [...layer.tree.removed].sort(),
  };
}

for (const layer of active) {
  test.serial(`${layer.name} changes exactly what it declares, and twice is once`, async (t) => {
    const before = await snapshot();
    await apply(layer);
    const after = await snapshot();
    t.deepEqual(difference(before, after), declared(layer, before, after));
    await apply(layer);
    t.deepEqual(difference(after, await snapshot()), { added: [], changed: [], removed: [] });
  });
}
