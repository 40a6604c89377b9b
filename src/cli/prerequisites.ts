import { Command, Option } from 'commander';
import { cloudNames } from '../clouds/find.ts';
import { doctor, report } from '../doctor/doctor.ts';
import { cloudflare } from '../edge/api.ts';
import { zoneChecks } from '../edge/doctor.ts';
import { inputError } from '../process/errors.ts';
import { setup } from '../setup/setup.ts';
import { regionOption, withCloud } from './clouds.ts';

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('check every prerequisite; changes nothing')
    .addOption(new Option('--cloud <name>', "this cloud's credentials and permissions instead").choices(cloudNames()))
    .addOption(regionOption())
    .option('--zone <file>', 'what the Cloudflare token may do in that zone instead')
    .option('--json', 'the result, and only it, on standard output', false)
    .action(
      async ({ cloud, region, zone, json }: { cloud?: string; region: string[]; zone?: string; json: boolean }) => {
        if (cloud === undefined && region.length)
          throw inputError('doctor', '--region without --cloud', 'add --cloud aws');
        if (zone !== undefined) {
          if (cloud !== undefined) throw inputError('doctor', '--zone and --cloud together', 'one after the other');
          process.exitCode = report(await zoneChecks(cloudflare(), zone), json);
          return;
        }
        process.exitCode =
          cloud === undefined
            ? await doctor({ json })
            : await withCloud({ cloud, region }, async (opened) => report(await opened.doctor(), json));
      },
    );
}

export function setupCommand(): Command {
  return new Command('setup')
    .description('install what is missing on this machine, and start Docker')
    .option('--yes', "don't ask", false)
    .option('--plan', 'list what would be installed and stop', false)
    .action((options: { yes: boolean; plan: boolean }) => setup(options));
}
