// node test/fakes/cloudflare/generate.ts: writes schemas.json anew, after another version of the SDK was pinned. Needs Node 22.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createGenerator } from 'ts-json-schema-generator';

const here = import.meta.dirname;
const root = join(here, '../../..');
const { version } = JSON.parse(readFileSync(join(root, 'node_modules/cloudflare/package.json'), 'utf8'));
const schema = createGenerator({
  ...{ path: join(here, 'wanted.ts'), type: 'Wanted', tsconfig: join(root, 'tsconfig.json') },
  ...{ skipTypeCheck: true, additionalProperties: false },
}).createSchema('Wanted');

/** Without what only people read. */
const bare = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(bare);
  if (typeof value !== 'object' || value === null) return value;
  const kept = Object.entries(value).filter(([key, member]) => key !== 'description' || typeof member !== 'string');
  return Object.fromEntries(kept.map(([key, member]) => [key, bare(member)]));
};
writeFileSync(join(here, 'schemas.json'), `${JSON.stringify({ sdk: version, ...(bare(schema) as object) })}\n`);
