import { type Command, Option } from 'commander';
import { LONGEST_EXPECTATION } from '../contract/edge-enrolment.ts';
import { expectLaunch, readLaunch, takeBundle } from '../edge/enrolments.ts';
import { readInventory } from '../edge/inventory.ts';
import { loadEdgeSecrets } from '../edge/secrets.ts';
import { encryptTo, loadOperator } from '../launch/operator.ts';
import { isTaken } from '../launch/records.ts';
import { Progress } from '../process/progress.ts';
import { agreed } from './agreed.ts';
import { duration } from './duration.ts';

interface Options {
  file: string;
  yes: boolean;
  for: number;
  instance: string;
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
    .command('bundle <launch.json>')
    .description('take what that box has brought, check it, and end the launch there; JSON, its code encrypted to you')
    .requiredOption('--instance <id>', 'as the cloud calls it: never as the box does')
    .addOption(inventory())
    .option('--wait <time>', 'for it to come, as 10m', duration(24 * 3600), 0)
    .action(async (launch: string, options: Options) => {
      const { proxy } = readInventory(options.file);
      const known = readLaunch(launch, proxy);
      const { identity, recipient } = await loadOperator();
      const { instance: instanceId, wait: waitSeconds } = options;
      const { code, ...told } = await new Progress().step(`bundle of ${known.launchId}`, ({ detail }) =>
        takeBundle(proxy, { ...known, identity, instanceId, isTaken, waitSeconds, detail }, loadEdgeSecrets()),
      );
      const bundle = { ...told, code_encrypted: await encryptTo(recipient, code) };
      process.stdout.write(`${JSON.stringify(bundle, null, 2)}\n`);
    });
}
