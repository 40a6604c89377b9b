import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';
import type { EdgeSecrets } from '../contract/edge.ts';
import { edgeFile } from '../launch/places.ts';
import { writeWhole } from '../launch/write-once.ts';
import { inputError } from '../process/errors.ts';
import { shellQuote } from '../process/run.ts';

const key = z.string().regex(/^[A-Za-z0-9_-]{43}$/);
const schema = z.strictObject({
  version: z.literal(1),
  /** With which the operator writes the registry; the proxy knows its digest alone. */
  token: key,
  session: key,
  /** The one that codes are sealed with now; older ones open what is there until it is pushed anew. */
  kid: z.string(),
  codes: z.record(z.string().regex(/^[A-Za-z0-9_-]{1,32}$/), key),
  client: z.string().min(1).optional(),
});

export interface OperatorEdge {
  token: string;
  kid: string;
  /** What the proxy is to be given. */
  secrets: EdgeSecrets;
}

/**
 * The keys of the auth proxy, made at first use, from the kernel's randomness.
 * @throws BuildError (input) when others may read them, or the file can't be read.
 */
export function loadEdgeSecrets(): OperatorEdge {
  const file = edgeFile();
  if (!existsSync(file)) {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    const fresh = () => randomBytes(32).toString('base64url');
    const kid = `k${Date.now().toString(36)}`;
    const made = { version: 1, token: fresh(), session: fresh(), kid, codes: { [kid]: fresh() } };
    writeWhole(file, `${JSON.stringify(made, null, 2)}\n`, 'absent');
  }
  if (statSync(file).mode & 0o077)
    throw inputError('edge', `others than you may read or write ${file}`, `chmod 600 ${shellQuote(file)}`);
  const parsed = schema.safeParse(parse(readFileSync(file, 'utf8')));
  if (!parsed.success || !parsed.data.codes[parsed.data.kid])
    throw inputError(
      'edge',
      `${file} isn't what was written there`,
      'put back its backup; without it push every instance anew',
    );
  const { token, kid, session, codes, client } = parsed.data;
  const admin = createHash('sha256').update(token).digest('base64url');
  return { token, kid, secrets: { session, codes, admin, ...(client ? { client } : {}) } };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
