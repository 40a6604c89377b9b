import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { readYaml } from '../manifest/yaml-file.ts';
import { inputError } from '../process/errors.ts';

const baseSchema = z.strictObject({
  id: z.string().regex(/^[a-z]+-[0-9.]+$/),
  title: z.string().min(1),
  /** `bootstrapped`: made here from signed packages. */
  kind: z.literal('bootstrapped'),
  suite: z.string().min(1),
  packages: z.array(z.string()).min(1),
});

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

/** @throws BuildError (input) for a name nobody knows, with the names there are. */
export function loadBase(name: string): Base {
  if (!baseNames().includes(name))
    throw inputError('base', `no base is called ${name}`, `known: ${baseNames().join(', ')}`);
  return readYaml(join(DIR, `${name}.yaml`), baseSchema, 'base');
}
