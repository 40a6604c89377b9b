import { Command } from 'commander';
import { cloudflare } from '../edge/api.ts';
import { openZone, planRemoval, planZone } from '../edge/apply.ts';
import { certify } from '../edge/certificate.ts';
import type { Context } from '../edge/change.ts';
import { appsNameOf } from '../edge/served.ts';
import { readRecord } from '../launch/records.ts';
import { perform } from '../ops/verbs.ts';
import { BuildError, inputError } from '../process/errors.ts';
import { Progress } from '../process/progress.ts';
import { agreed } from './agreed.ts';
import { addBansCommand } from './edge-bans.ts';
import { change, planned, tell } from './edge-change.ts';
import { addEnrolCommands } from './edge-enrol.ts';
import { addProxyCommands } from './edge-proxy.ts';

interface Options {
  zone: string;
  yes: boolean;
  json: boolean;
  loseRegistry?: boolean;
}

const EXAMPLES = `
Examples:
  npm run -s edge -- plan                          what isn't as zone.yaml wants it; changes nothing
  npm run edge -- apply --yes                      makes it so; an interrupted one is finished by the same command
  npm run -s edge -- drift --json                  as plan; exit code 1 where there is any
  npm run edge -- certificates --yes               each instance's, of Cloudflare's CA for origins, renewed in time
  npm run edge -- bans --yes                       whom instances have banned is banned at Cloudflare too
  npm run edge -- push alice                       alice's code, owner and shares, of edge.yaml, into the auth proxy's registry
  npm run edge -- serve                            the auth proxy as a server of one's own
  npm run edge -- destroy                          takes away all that is ours; settings stay

CLOUDFLARE_API_TOKEN is taken from the environment; docs/edge-zone.md lists what it needs. npm run doctor -- --zone zone.yaml tries it.`;

export function edgeCommand(root: string): Command {
  const command = new Command('edge')
    .description('the zone at Cloudflare as zone.yaml wants it, and the auth proxy')
    .addHelpText('after', EXAMPLES);
  const add = (
    name: string,
    description: string,
    action: (context: Context, options: Options, progress: Progress) => Promise<void>,
  ) =>
    command
      .command(name)
      .description(description)
      .option('--zone <file>', 'what the zone has to be like', 'zone.yaml')
      .option('--yes', "don't ask, where something changes", false)
      .option('--json', 'the result, and only it, on standard output', false)
      .action(async (options: Options) => {
        const progress = new Progress();
        const context = await progress.step('open the zone', () => openZone(cloudflare(), options.zone));
        await action(context, options, progress);
      });
  const addLosing: typeof add = (...it) =>
    add(...it).option('--lose-registry', "don't ask, where the registry goes with its Worker: --yes doesn't say so");
  add('plan', "show what isn't as it should be, and stop", async (context, options, progress) => {
    tell(await planned(context, progress), options);
  });
  add('drift', 'the same, with exit code 1 where there is any', async (context, options, progress) => {
    const plan = await planned(context, progress);
    tell(plan, options);
    const names = plan.flatMap(({ changes }) => changes.map(({ name }) => name));
    if (names.length)
      throw new BuildError('edge', `${names.length} not as it should be: ${names.join(', ')}`, 'npm run edge -- apply');
  });
  addLosing('apply', 'make the zone so', (context, options, progress) =>
    change(context, options, progress, () => planZone(context)),
  );
  addLosing(
    'destroy',
    'take away what is ours: records, rules, Access, certificates, the Worker; settings stay as they are',
    (context, options, progress) => change(context, options, progress, () => planRemoval(context)),
  );
  add('certificates', "give the instances of zone.yaml certificates of Cloudflare's CA for origins", certificates);
  addProxyCommands(command, root);
  addEnrolCommands(command);
  addBansCommand(command);
  return command;
}

async function certificates(context: Context, options: Options, progress: Progress): Promise<void> {
  const origins = context.zone.origins.filter(({ instance }) => instance);
  if (origins.length === 0)
    throw inputError(
      'edge',
      `no origin in ${options.zone} names its instance`,
      'add instance: … to those that are to have one',
    );
  const names = origins.map(({ name }) => name).join(', ');
  if (!options.yes && !(await agreed('edge', `certificates for ${names}, where they are due?`))) return;
  const apps = ({ zone: { worker } }: Context, name: string) =>
    worker ? [appsNameOf(name, worker.edge.uiDomain, worker.edge.appsDomain, options.zone)] : [];
  const rows: { host: string; until: string; renewed: boolean }[] = [];
  for (const { name: host, instance } of origins) {
    const record = readRecord(instance as string);
    const ask = (args: Record<string, unknown>) => perform(record, 'set-origin-cert', args);
    const done = await progress.step(`${instance}: ${host}`, ({ detail }) =>
      certify({ ...context, detail }, { instance: record.instance_id, hosts: [host, ...apps(context, host)], ask }),
    );
    rows.push({ host, ...done });
  }
  const lines = rows.map(({ host, until, renewed }) => `${host}: until ${until}${renewed ? ', new' : ''}\n`);
  process.stdout.write(options.json ? `${JSON.stringify(rows)}\n` : lines.join(''));
}
