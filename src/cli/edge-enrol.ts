import { existsSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { LONGEST_EXPECTATION } from '../contract/edge-enrolment.ts';
import { expectLaunch, readLaunch, takeBundle, withdrawLaunch } from '../edge/enrolments.ts';
import { readInventory } from '../edge/inventory.ts';
import { loadEdgeSecrets } from '../edge/secrets.ts';
import { recordElsewhere } from '../launch/elsewhere.ts';
import { loadOperator } from '../launch/operator.ts';
import { checkId, opsKeyFile } from '../launch/places.ts';
import { isTaken } from '../launch/records.ts';
import { publicView } from '../launch/render.ts';
import { Progress } from '../process/progress.ts';
import { agreed } from './agreed.ts';
import { duration } from './duration.ts';

interface Options {
  file: string;
  yes: boolean;
  for: number;
  instance: string;
  address: string;
  wait: number;
}

/** The commands by which instances enrol at the auth proxy that were launched by other means than this tool. */
export function addEnrolCommands(edge: Command): void {
  const inventory = () => new Option('--file <file>', 'which proxy').default('edge.yaml');
  edge
    .command('expect <launch.json>')
    .description('let the box of a launch enrol at the auth proxy, once')
    .addOption(inventory())
    .option('--for <time>', 'how long', duration(LONGEST_EXPECTATION), 24 * 3600)
    .option('--yes', "don't ask", false)
    .action(async (launch: string, options: Options) => {
      const { proxy } = readInventory(options.file);
      const known = readLaunch(launch, proxy);
      if (!options.yes && !(await agreed('edge', `expect launch ${known.launchId} at ${proxy}?`))) return;
      const expires = Math.floor(Date.now() / 1000) + options.for;
      await new Progress().step(`expect ${known.launchId}`, () =>
        expectLaunch(proxy, known, expires, loadEdgeSecrets()),
      );
    });
  edge
    .command('withdraw <launch.json>')
    .description('let it come no more: its token is worth nothing there then')
    .addOption(inventory())
    .option('--yes', "don't ask", false)
    .action(async (launch: string, options: Options) => {
      const { proxy } = readInventory(options.file);
      const known = readLaunch(launch, proxy);
      if (!options.yes && !(await agreed('edge', `withdraw launch ${known.launchId} at ${proxy}?`))) return;
      await new Progress().step(`withdraw ${known.launchId}`, () => withdrawLaunch(proxy, known, loadEdgeSecrets()));
    });
  edge
    .command('bundle <launch.json>')
    .description('take what that box has brought, check it, keep a record of the instance, and end the launch there')
    .requiredOption('--instance <id>', 'as the cloud calls it: never as the box does')
    .requiredOption(
      '--address <address>',
      'where it is, as the cloud says: its SSH port has to show the host key of the bundle',
    )
    .addOption(inventory())
    .option('--wait <time>', 'for it to come, as 10m', duration(24 * 3600), 0)
    .action((launch: string, options: Options) => bundle(launch, options));
}

async function bundle(file: string, { instance, address, wait, file: inventory }: Options): Promise<void> {
  const { proxy } = readInventory(inventory);
  const [known, progress] = [readLaunch(file, proxy), new Progress()];
  const { identity, recipient } = await loadOperator();
  const opsKey = existsSync(opsKeyFile()) ? opsKeyFile() : null;
  checkId(instance);
  const { bundle, close } = await progress.step(`bundle of ${known.launchId}`, ({ detail }) => {
    const expected = { ...known, identity, instanceId: instance, isTaken, waitSeconds: wait, detail };
    return takeBundle(proxy, expected, loadEdgeSecrets());
  });
  const record = await progress.step('check the host key, keep a record', () =>
    recordElsewhere(bundle, { instance, address, user: known.users[0] ?? 'owner@localhost', recipient, opsKey }),
  );
  // What is kept is kept: where this fails, `withdraw` does it again.
  await progress.step('end the launch at the proxy', close);
  process.stdout.write(`${JSON.stringify(publicView(record), null, 2)}\n`);
}
