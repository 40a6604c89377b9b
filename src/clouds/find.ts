import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { inputError } from '../process/errors.ts';
import type { Cloud, CloudOptions, OpenCloud } from './cloud.ts';

/** Every cloud: the folders beside this file. */
export function cloudNames(): string[] {
  return readdirSync(import.meta.dirname, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && existsSync(join(import.meta.dirname, entry.name, 'index.ts')))
    .map(({ name }) => name)
    .sort();
}

/**
 * Opens a cloud; only then is its client library loaded.
 * @throws BuildError (input) for an unknown name, a wrong region, missing credentials.
 */
export async function openCloud(name: string, options: CloudOptions): Promise<Cloud> {
  if (!cloudNames().includes(name))
    throw inputError('cloud', `there is no cloud ${JSON.stringify(name)}`, `one of ${cloudNames().join(', ')}`);
  const { cloud } = (await import(`./${name}/index.ts`)) as { cloud: OpenCloud };
  return cloud(options);
}
