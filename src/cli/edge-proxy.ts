import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { serve } from '../../layers/06-cloudflare/edge/node/serve.ts';
import { bundleWorker } from '../../layers/06-cloudflare/edge/worker/bundle.ts';
import { push, readInventory } from '../edge/inventory.ts';
import { loadEdgeSecrets } from '../edge/secrets.ts';
import { readServeConfig } from '../edge/serve-config.ts';
import { decryptWith, readOperator } from '../launch/operator.ts';
import { readRecord } from '../launch/records.ts';
import { inputError } from '../process/errors.ts';
import { Progress } from '../process/progress.ts';
import { agreed } from './agreed.ts';

/** The commands that are about the auth proxy itself. */
export function addProxyCommands(edge: Command): void {
  const file = ['--file <file>', 'whose instances there are', 'edge.yaml'] as const;
  for (const [name, revoked, description] of [
    ['push', false, "write instances into the auth proxy's registry, with the codes of their records"],
    ['revoke', true, 'let nobody through to them any more; push takes that back'],
  ] as const)
    edge
      .command(`${name} [slugs...]`)
      .description(description)
      .option(...file)
      .option('--yes', "don't ask", false)
      .action(async (slugs: string[], options: { file: string; yes: boolean }) => {
        const inventory = readInventory(options.file);
        const chosen = slugs.length ? slugs : revoked ? [] : Object.keys(inventory.instances);
        const odd = chosen.find((slug) => !inventory.instances[slug]);
        if (odd || !chosen.length)
          throw inputError(
            'edge',
            odd ? `${options.file} has no ${odd}` : 'whom?',
            `there are: ${Object.keys(inventory.instances).join(', ') || 'none'}`,
          );
        if (!options.yes && !(await agreed('edge', `${name} ${chosen.join(', ')} at ${inventory.proxy}?`))) return;
        const [{ identity }, progress, mine] = [await readOperator(), new Progress(), loadEdgeSecrets()];
        for (const slug of chosen) {
          const record = readRecord((inventory.instances[slug] as { instance: string }).instance);
          const code = await decryptWith(identity, record.code_encrypted);
          await progress.step(`${name} ${slug}`, () => push(inventory, slug, record, code, mine, revoked));
        }
      });
  edge
    .command('serve')
    .description('run the auth proxy here, until Ctrl-C')
    .option('--config <file>', 'its settings', 'proxy.yaml')
    .action(async ({ config }: { config: string }) => {
      const log = (line: string) => process.stderr.write(`${new Date().toISOString()} ${line}\n`);
      const { port, close } = await serve({ ...readServeConfig(config), log });
      log(`listening on ${port}`);
      await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
      await close();
    });
  edge
    .command('worker <file>')
    .description('write the auth proxy as a Worker, one module; docs/edge.md says what it is bound to')
    .action(async (to: string) => {
      writeFileSync(to, await bundleWorker());
    });
  edge
    .command('secrets')
    .description('what the Worker is bound to as CLAWDY_SECRETS; to a pipe')
    .action(() => {
      if (process.stdout.isTTY)
        throw inputError(
          'edge',
          "secrets aren't shown on a terminal",
          'pipe them: … secrets | wrangler secret put CLAWDY_SECRETS',
        );
      process.stdout.write(JSON.stringify(loadEdgeSecrets().secrets));
    });
}
