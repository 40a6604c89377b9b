import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { Command } from 'commander';
import { generatedDocs } from '../docs/generated.ts';

export function docsCommand(root: string): Command {
  return new Command('docs').description('write the generated parts of docs/ anew').action(() => {
    for (const [file, content] of generatedDocs(root)) {
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, content);
    }
  });
}
