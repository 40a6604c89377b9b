/** A regular file of an image. */
export interface ImageFile {
  path: string;
  /** Bytes. */
  size: number;
}

/** One thing that a disk is made of. */
export interface Part {
  name: string;
  /** Sum of its files' lengths; a file with two names counts under each, as in files.tsv. */
  bytes: number;
  files: number;
}

/** What `npm run -s bench -- size --json` prints. */
export interface ImageSize {
  id: string;
  /** Bytes of the disk as a machine sees it. */
  raw: number;
  /** Bytes that a sparse raw file of it takes: what isn't zeros. */
  allocated: number;
  /** Bytes of the compressed disk, which is what is kept. */
  qcow2: number;
  /** Bytes and number of all regular files in the root; the parts add up to both. */
  bytes: number;
  files: number;
  parts: Part[];
}

/** How many packages that no other part has are shown by name. */
const NAMED_PACKAGES = 10;

const RUNTIME = '/usr/lib/clawdy/runtime/';

/** By place, the first that fits; what a package owns comes after. */
const PLACES: [string, (path: string) => boolean][] = [
  ['Node', (path) => path.startsWith(`${RUNTIME}node_modules/node-linux-`)],
  ['OpenClaw', (path) => path.startsWith(RUNTIME)],
  ['initrd', (path) => path.startsWith('/boot/initrd')],
  [
    'kernel and modules',
    (path) => /^\/boot\/(vmlinuz|System\.map|config)-/.test(path) || path.startsWith('/usr/lib/modules/'),
  ],
  ['GRUB', (path) => path.startsWith('/boot/') || path.startsWith('/usr/lib/grub/')],
  ['firmware', (path) => path.startsWith('/usr/lib/firmware/')],
];

/** By package, the first that fits. Python's compiled files belong to no package, so its folder counts too. */
const KINDS: [string, (name: string) => boolean][] = [
  ['GRUB', (name) => name.startsWith('grub')],
  ['Python', (name) => /^(lib)?python3/.test(name)],
];
const PYTHON = /^\/usr\/lib\/python3[.\d]*\//;

/** Regular files of a files.tsv (src/seal/seal.ts writes it). */
export function parseFiles(tsv: string): ImageFile[] {
  return tsv.split('\n').flatMap((line) => {
    // From the end: a path may hold a tab, nothing behind it can.
    const fields = line.split('\t');
    const [type, , , , size] = fields.slice(-5);
    return type === 'file' ? [{ path: fields.slice(0, -5).join('\t'), size: Number(size) }] : [];
  });
}

/** A path as it is on a merged /usr: dpkg may still say /lib where the disk has /usr/lib. */
export function merged(path: string): string {
  return path.replace(/^\/(bin|sbin|lib|lib32|lib64|libx32)(?=\/|$)/, '/usr/$1');
}

/**
 * Says what an image's files are, in parts that each file is in exactly one of.
 *
 * @param owners package by path, paths as `merged` has them.
 * @param ours paths that our layers declare.
 * @returns largest first; parts without a file are left out.
 */
export function breakDown(files: ImageFile[], owners: Map<string, string>, ours: Set<string>): Part[] {
  const named = new Map<string, Part>();
  const packages = new Map<string, Part>();
  const count = (parts: Map<string, Part>, name: string, { size }: ImageFile) => {
    const part = parts.get(name) ?? { name, bytes: 0, files: 0 };
    parts.set(name, { name, bytes: part.bytes + size, files: part.files + 1 });
  };
  for (const file of files) {
    const owner = owners.get(file.path);
    const part = partOf(file.path, owner, ours);
    if (part) count(named, part, file);
    else if (owner) count(packages, `package ${owner}`, file);
    else count(named, 'in no package', file);
  }
  const byPackage = [...packages.values()].sort(largestFirst);
  const others = byPackage.slice(NAMED_PACKAGES);
  const rest: Part = {
    name: `${others.length} further packages`,
    bytes: sum(others, ({ bytes }) => bytes),
    files: sum(others, (part) => part.files),
  };
  const parts = [...named.values(), ...byPackage.slice(0, NAMED_PACKAGES), ...(others.length ? [rest] : [])];
  return parts.sort(largestFirst);
}

function partOf(path: string, owner: string | undefined, ours: Set<string>): string | undefined {
  const place = PLACES.find(([, fits]) => fits(path));
  if (place) return place[0];
  if (ours.has(path) || path.startsWith('/usr/lib/clawdy/')) return 'our layers';
  const kind = owner === undefined ? undefined : KINDS.find(([, fits]) => fits(owner));
  if (kind) return kind[0];
  // A module of another package's is that package's; what is left here is Python's own writing.
  return owner === undefined && PYTHON.test(path) ? 'Python' : undefined;
}

function largestFirst(a: Part, b: Part): number {
  return b.bytes - a.bytes || (a.name < b.name ? -1 : 1);
}

export function sum<T>(list: T[], of: (one: T) => number): number {
  return list.reduce((total, one) => total + of(one), 0);
}

/** The sizes as a table for a person. */
export function renderSize(size: ImageSize): string {
  const row = (name: string, bytes: number, files?: number) =>
    `${name.padEnd(36)} ${(bytes / 2 ** 20).toFixed(1).padStart(8)} MiB${files === undefined ? '' : ` ${String(files).padStart(7)} files`}`;
  return [
    size.id,
    row('disk, raw', size.raw),
    row('disk, what is not zeros', size.allocated),
    row('disk, compressed (qcow2)', size.qcow2),
    row('files of the root', size.bytes, size.files),
    ...size.parts.map(({ name, bytes, files }) => row(`  ${name}`, bytes, files)),
  ].join('\n');
}
