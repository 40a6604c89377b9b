import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { loadLayers } from '../manifest/layers.ts';
import { jsonSchemas, renderSchema, schemaFile } from '../manifest/schemas.ts';
import { loadClaims } from '../verify/claims/load.ts';
import { renderSecurityFeatures } from './security-features.ts';

/** Every page of docs/ that is made from the code and the manifests: absolute path → content. */
export function generatedDocs(root: string): Map<string, string> {
  const layers = loadLayers(root);
  const schemas = Object.entries(jsonSchemas(layers)).map(
    ([name, schema]) => [schemaFile(root, name), renderSchema(schema)] as const,
  );
  const features = renderSecurityFeatures(layers, loadClaims(root, layers));
  return new Map([...schemas, [join(root, 'docs', 'SECURITY_FEATURES.md'), features]]);
}

/** Writes them. */
export function writeGenerated(root: string): void {
  for (const [file, content] of generatedDocs(root)) {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content);
  }
}
