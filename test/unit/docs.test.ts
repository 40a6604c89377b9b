import { existsSync, readFileSync } from 'node:fs';
import { relative } from 'node:path';
import test from 'ava';
import { generatedDocs } from '../../src/docs/generated.ts';
import { ROOT } from '../image.ts';

for (const [file, content] of generatedDocs(ROOT)) {
  test(`${relative(ROOT, file)} is what the code and the manifests generate (npm run docs)`, (t) => {
    t.is(existsSync(file) ? readFileSync(file, 'utf8') : '', content);
  });
}
