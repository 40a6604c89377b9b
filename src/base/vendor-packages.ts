import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { labelled, readPartitions } from '../bake/partitions.ts';
import { cached } from '../plan/cache.ts';
import { BuildError } from '../process/errors.ts';
import { Ext4 } from '../seal/ext4.ts';
import { parsePackages } from '../seal/seal.ts';
import { keyFile, type VendorBase } from './bases.ts';
import { mmdebstrap, type PackageList } from './bootstrap.ts';
import { rawVendorImage, type VendorImage } from './vendor.ts';

/** What an upgrade of a vendor's image and an installation of our packages make of it, by today's archive. */
export interface VendorPackages {
  /** All packages afterwards, `name version`, sorted. */
  resolved: PackageList;
  /** What the guest is to install, `name=version`: new ones and upgrades. */
  install: string[];
}

/**
 * Asks the archive, now, what the guest will install. The simulation starts from the image's own dpkg database, so the
 * answer is what apt in the guest would come to as well, and the versions can be held to.
 *
 * @throws BuildError that names the archive, where it gives no answer: its image was had, so nothing falls back.
 */
export async function resolveVendorPackages(
  base: VendorBase,
  image: VendorImage,
  packages: string[],
  log: string,
): Promise<VendorPackages> {
  const dir = await mkdtemp(join(tmpdir(), 'clawdy-resolve-'));
  try {
    const [status, answer] = [join(dir, 'status'), join(dir, 'resolved')];
    await copyFile(await vendorStatus(base, image, log), status);
    const keyring = `--keyring=${keyFile(base.archive.key)}`;
    const hook = `--customize-hook=sh '${join(import.meta.dirname, 'resolve-upgrade.sh')}'`;
    await mmdebstrap(
      ['--variant=custom', '--format=null', '--architectures=amd64', keyring, hook, firstSuite(base), '-'],
      {
        step: 'resolve',
        log,
        sources: sourceLines(base),
        env: { CLAWDY_STATUS: status, CLAWDY_PACKAGES: packages.join(' '), CLAWDY_RESOLVED: answer },
      },
    ).catch((cause: unknown) => {
      throw cause instanceof BuildError ? archiveError(base, cause) : cause;
    });
    return applyAnswer(parsePackages(await readFile(status, 'utf8')), await readFile(answer, 'utf8'));
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

function archiveError(base: VendorBase, cause: BuildError): BuildError {
  const uris = base.archive.sources.map(({ uri }) => uri).join(', ');
  return new BuildError(
    'resolve',
    `${base.id}'s image is here, but apt got no package versions from its archive, ${uris}: ${cause.message}`,
    'check that the archive can be reached (a proxy goes into http_proxy), then repeat; or take a base of another archive: --base debian-13',
    { log: cause.log, tail: cause.tail, exitCode: cause.exitCode, cause },
  );
}

/** Lines of a sources.list for a vendor's archive. */
export function sourceLines(base: VendorBase): string[] {
  return base.archive.sources.flatMap(({ uri, suites, components }) =>
    suites.map((suite) => `deb ${uri} ${suite} ${components.join(' ')}`),
  );
}

function firstSuite(base: VendorBase): string {
  return base.archive.sources[0]?.suites[0] as string;
}

/** The packages of an image after apt did what it said it would. */
export function applyAnswer(installed: PackageList, answer: string): VendorPackages {
  const after = new Map(installed.map((line) => line.split(' ') as [string, string]));
  const install: string[] = [];
  for (const [verb, name = '', version = ''] of answer.split('\n').map((line) => line.split(' '))) {
    if (verb === 'Remv') after.delete(name);
    if (verb !== 'Inst') continue;
    after.set(name, version);
    install.push(`${name}=${version}`);
  }
  return { resolved: [...after].map((pair) => pair.join(' ')).sort(), install: install.sort() };
}

/** The image's dpkg database, read from its root without booting or mounting it. */
async function vendorStatus(base: VendorBase, image: VendorImage, log: string): Promise<string> {
  const { dir } = await cached('vendor-status', image.sha256, async (into) => {
    const raw = join(into, 'disk.raw');
    await rawVendorImage(image, raw, log);
    const root = labelled(await readPartitions(raw, 'base'), base.rootLabel, 'base');
    const status = await new Ext4(raw, root.start).read('/var/lib/dpkg/status');
    if (!status.length)
      throw new BuildError('base', `${image.file}: no dpkg database`, 'is this a Debian or an Ubuntu?');
    await writeFile(join(into, 'status'), status);
    await rm(raw);
  });
  return join(dir, 'status');
}
