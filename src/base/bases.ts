import { readdirSync } from 'node:fs';
import { isAbsolute, join, resolve } from 'node:path';
import { z } from 'zod';
import { readYaml } from '../manifest/yaml-file.ts';
import { inputError } from '../process/errors.ts';

const id = z.string().regex(/^[a-z]+-[0-9.]+$/);
const title = z.string().min(1);

const bootstrappedSchema = z.strictObject({
  id,
  title,
  /** Made here from signed packages. */
  kind: z.literal('bootstrapped'),
  suite: z.string().min(1),
  packages: z.array(z.string()).min(1),
});

const sourceSchema = z.strictObject({
  uri: z.url({ protocol: /^https?$/ }),
  suites: z.array(z.string()).min(1),
  components: z.array(z.string()).min(1),
});

const vendorSchema = z.strictObject({
  id,
  title,
  /** A finished disk image that its vendor signs. */
  kind: z.literal('vendor'),
  /** The folder that holds the image, SHA256SUMS and SHA256SUMS.gpg. */
  url: z.url({ protocol: /^https?$/ }).endsWith('/'),
  /** A plain file name: what SHA256SUMS calls it, and what it is called in the cache. */
  image: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._+-]*$/),
  /** Keyring that signs SHA256SUMS: a file of src/base/keys, or an absolute path. */
  key: z.string().min(1),
  /** Fingerprints of the primary keys in it that may sign; src/base/keys/README.md says whose they are. */
  fingerprints: z.array(z.string().regex(/^[0-9A-F]{40}$/)).min(1),
  /** Label of the root's ext4. */
  rootLabel: z.string().min(1).max(16),
  /** Size the root gets, in MiB; it never grows after that. */
  rootMiB: z.number().int().min(2048),
  /** Where the layers' packages come from. */
  archive: z.strictObject({ key: z.string().min(1), sources: z.array(sourceSchema).min(1) }),
});

const baseSchema = z.discriminatedUnion('kind', [bootstrappedSchema, vendorSchema]);

export type BootstrappedBase = z.output<typeof bootstrappedSchema>;
export type VendorBase = z.output<typeof vendorSchema>;
/** A signed Linux that images are baked from. */
export type Base = z.output<typeof baseSchema>;

const DIR = join(import.meta.dirname, 'bases');

/** All bases this project knows, by name. */
export function baseNames(): string[] {
  return readdirSync(DIR)
    .filter((name) => name.endsWith('.yaml'))
    .map((name) => name.slice(0, -'.yaml'.length))
    .sort();
}

/** The bases that are made here from packages: they need no vendor's site. */
export function bootstrappedNames(): string[] {
  return baseNames().filter((name) => loadBase(name).kind === 'bootstrapped');
}

/**
 * @param name a known base, or the path of a definition (it ends in .yaml) for one that isn't the project's own.
 * @throws BuildError (input) for a name nobody knows, with the names there are.
 */
export function loadBase(name: string): Base {
  if (name.endsWith('.yaml')) return readYaml(resolve(name), baseSchema, 'base');
  if (!baseNames().includes(name))
    throw inputError('base', `no base is called ${name}`, `known: ${baseNames().join(', ')}`);
  return readYaml(join(DIR, `${name}.yaml`), baseSchema, 'base');
}

/** Path of a keyring that a definition names. */
export function keyFile(key: string): string {
  return isAbsolute(key) ? key : join(import.meta.dirname, 'keys', key);
}
