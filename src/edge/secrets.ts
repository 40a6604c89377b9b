import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';
import { edgeSecretsSchema } from '../contract/edge.ts';
import { jsonOf } from '../contract/text.ts';
import { edgeFile } from '../launch/places.ts';
import { writeWhole } from '../launch/write-once.ts';
import { inputError } from '../process/errors.ts';
import { requirePrivate } from '../process/private-file.ts';

const schema = z.strictObject({
  version: z.literal(1),
  /** With which the operator writes the registry; the proxy knows its digest alone. */
  token: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
  /** What the proxy is to be given. The first of `keks` seals codes. */
  secrets: edgeSecretsSchema,
});
export type OperatorEdge = z.output<typeof schema>;

/**
 * The keys of the auth proxy, made at first use, from the kernel's randomness.
 * @throws BuildError (input) when others may read them, or the file can't be read.
 */
export function loadEdgeSecrets(): OperatorEdge {
  const file = edgeFile();
  if (!existsSync(file)) {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    writeWhole(file, `${JSON.stringify(fresh(), null, 2)}\n`, 'absent');
  }
  requirePrivate('edge', file);
  const parsed = schema.safeParse(jsonOf(readFileSync(file, 'utf8')));
  if (parsed.success) return parsed.data;
  throw inputError(
    'edge',
    `${file} isn't what was written there`,
    'put back its backup; without it, move it away and push every instance anew',
  );
}

function fresh(): OperatorEdge {
  const key = () => randomBytes(32).toString('base64url');
  const id = Date.now().toString(36);
  const token = key();
  return {
    ...{ version: 1, token },
    secrets: {
      keks: [{ id: `kek-${id}`, key: key() }],
      sessionKeys: [{ id: `session-${id}`, key: key() }],
      adminTokenSha256: createHash('sha256').update(token).digest('hex'),
    },
  };
}
