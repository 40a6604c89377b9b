import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { Command } from 'commander';
import { loadLayers } from '../manifest/layers.ts';
import { jsonSchemas, renderSchema, schemaFile } from '../manifest/schemas.ts';

export function docsCommand(root: string): Command {
  return new Command('docs').description('write the generated parts of docs/ anew').action(() => {
    for (const [name, schema] of Object.entries(jsonSchemas(loadLayers(root)))) {
      const file = schemaFile(root, name);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, renderSchema(schema));
    }
  });
}
