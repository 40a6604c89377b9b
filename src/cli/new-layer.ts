import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { Command } from 'commander';
import { writeGenerated } from '../docs/generated.ts';
import { loadLayers } from '../manifest/layers.ts';
import { inputError } from '../process/errors.ts';

export function newLayerCommand(root: string): Command {
  return new Command('new-layer')
    .description('make the folder of a new layer, and the generated docs anew; no other edit is needed')
    .argument('<name>', 'NN-id, such as 09-audit')
    .action((name: string) => {
      const dir = join(root, 'layers', name);
      if (!/^\d\d-[a-z][a-z0-9-]*$/.test(name))
        throw inputError('new-layer', `${name} isn't NN-id`, 'for example: make new-layer NAME=09-audit');
      const number = name.slice(0, 2);
      const taken = readdirSync(join(root, 'layers')).find((other) => other.startsWith(number));
      if (existsSync(dir) || taken)
        throw inputError('new-layer', `layers/${taken ?? name} is there already`, 'take another number');
      const id = name.slice(3);
      mkdirSync(dir, { recursive: true });
      for (const [file, text] of Object.entries(skeleton(id))) writeFileSync(join(dir, file), text);
      loadLayers(root);
      writeGenerated(root);
      process.stderr.write(`made ${relative(root, dir)}; state it in layer.yaml, attack it in claims.yaml\n`);
    });
}

/** A planned layer: it loads, adds nothing, and says what to write next. */
function skeleton(id: string): Record<string, string> {
  return {
    'layer.yaml': `id: ${id}\ntitle: ${id}\npromise: One sentence to a user of the image.\nstate: planned\n`,
    'README.md': `# ${id}\n\nWhat it promises, how it keeps the promise, and what it doesn't do.\n`,
  };
}
