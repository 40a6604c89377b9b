import { Command } from 'commander';
import { writeGenerated } from '../docs/generated.ts';

export function docsCommand(root: string): Command {
  return new Command('docs').description('write the generated parts of docs/ anew').action(() => writeGenerated(root));
}
