import { once } from 'node:events';
import type { Command } from 'commander';
import { z } from 'zod';
import { serve } from '../../layers/06-cloudflare/edge/node/serve.ts';
import { readSettings } from '../../layers/06-cloudflare/edge/node/settings.ts';
import { bundleWorker } from '../edge/bundle.ts';
import { push, readInventory } from '../edge/inventory.ts';
import { loadEdgeSecrets } from '../edge/secrets.ts';
import { decryptWith, readOperator } from '../launch/operator.ts';
import { readRecord } from '../launch/records.ts';
import { inputError } from '../process/errors.ts';
import { Progress } from '../process/progress.ts';
import { agreed } from './agreed.ts';

/** The commands that are about the auth proxy itself. */
export function addProxyCommands(edge: Command, root: string): void {
  for (const [name, description] of [
    ['push', "write instances into the auth proxy's registry, with the codes of their records"],
    ['revoke', 'let nobody through to them any more; push takes that back'],
  ] as const)
    edge
      .command(`${name} [slugs...]`)
      .description(description)
      .option('--file <file>', 'whose instances there are', 'edge.yaml')
      .option('--yes', "don't ask", false)
      .action((slugs: string[], options: { file: string; yes: boolean }) => write(name, slugs, options));
  edge
    .command('serve')
    .description('run the auth proxy here, until Ctrl-C')
    .option('--settings <file>', 'docs/edge.md', 'proxy.json')
    .action(async ({ settings }: { settings: string }) => {
      const { port, close } = await input(settings, () => serve(readSettings(settings)));
      process.stderr.write(`listening on ${port}\n`);
      await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
      await close();
    });
  edge
    .command('worker <file>')
    .description('write the auth proxy as a Worker, one module; docs/edge.md says what it is bound to')
    .action((to: string) => bundleWorker(root, to));
  edge
    .command('secrets')
    .description("the auth proxy's secrets, made at first use; to a pipe or a file")
    .action(() => {
      if (process.stdout.isTTY)
        throw inputError('edge', "secrets aren't shown on a terminal", '… secrets >secrets.json, with umask 077');
      process.stdout.write(`${JSON.stringify(loadEdgeSecrets().secrets)}\n`);
    });
}

async function write(name: 'push' | 'revoke', slugs: string[], options: { file: string; yes: boolean }): Promise<void> {
  const inventory = readInventory(options.file);
  const { instances, proxy } = inventory;
  const known = Object.keys(instances);
  const chosen = slugs.length || name === 'revoke' ? slugs : known;
  const odd = chosen.find((slug) => !instances[slug]);
  if (odd || !chosen.length)
    throw inputError(
      'edge',
      odd ? `${options.file} has no ${odd}` : 'whom?',
      `there are: ${known.join(', ') || 'none'}`,
    );
  if (!options.yes && !(await agreed('edge', `${name} ${chosen.join(', ')} at ${proxy}?`))) return;
  const [{ identity }, progress, mine] = [await readOperator(), new Progress(), loadEdgeSecrets()];
  for (const slug of chosen) {
    const record = readRecord((instances[slug] as { instance: string }).instance);
    const code = name === 'push' ? await decryptWith(identity, record.code_encrypted) : null;
    const reached = await progress.step(`${name} ${slug}`, () => push(inventory, slug, record, code, mine));
    if (name === 'push' && reached !== 200)
      process.stderr.write(`${slug}: the proxy has it, and its gate answers ${reached ?? 'nothing'}\n`);
  }
}

/** What is wrong with a file is its writer's to mend. */
async function input<T>(file: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const why = error instanceof z.ZodError ? z.prettifyError(error) : error instanceof Error ? error.message : error;
    throw inputError('edge', `${file}: ${why}`, 'docs/edge.md has an example');
  }
}
