import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Layer } from '../manifest/layers.ts';
import { inputError } from '../process/errors.ts';

/** A file that this project doesn't have, and that whoever bakes gives to a layer (`given` of its layer.yaml). */
export interface Given {
  name: string;
  /** SHA-256 of `body`, hex. */
  sha256: string;
  body: Buffer;
}

/**
 * Reads such a file, once: what was checked is what ends in the image.
 *
 * @param name under which a layer's manifest knows it.
 * @param sha256 hex, from whoever publishes the file.
 * @throws BuildError (input) where no layer takes it, it can't be read, or it has another digest.
 */
export function readGiven(layers: Layer[], name: string, file: string, sha256: string): Given {
  if (!layers.some(({ given }) => given[name])) {
    throw inputError(
      'bake',
      `no layer takes ${name}`,
      `leave --${name} out, or declare it under given: in a layer.yaml`,
    );
  }
  const wanted = sha256.toLowerCase();
  if (!/^[0-9a-f]{64}$/.test(wanted)) {
    throw inputError(
      'bake',
      `--${name}-sha256 is no SHA-256`,
      '64 hexadecimal digits, from whoever publishes the file',
    );
  }
  const body = readOrRefuse(name, file);
  const found = createHash('sha256').update(body).digest('hex');
  if (found !== wanted) {
    const what = `${file} has the SHA-256 ${found}, not ${wanted}`;
    throw inputError('bake', what, "get it anew and compare with its publisher's digest; nothing was baked");
  }
  return { name, sha256: wanted, body };
}

function readOrRefuse(name: string, file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    throw inputError('bake', `--${name}: ${(cause as Error).message}`, 'name a file that can be read');
  }
}
