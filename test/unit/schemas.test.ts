import { readFileSync } from 'node:fs';
import test from 'ava';
import { jsonSchemas, renderSchema, schemaFile } from '../../src/manifest/schemas.ts';
import { LAYERS, ROOT } from '../image.ts';

for (const [name, schema] of Object.entries(jsonSchemas(LAYERS))) {
  test(`docs/schemas/${name} is what the code generates (npm run docs)`, (t) => {
    t.is(readFileSync(schemaFile(ROOT, name), 'utf8'), renderSchema(schema));
  });
}
