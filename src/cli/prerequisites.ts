import { Command } from 'commander';
import { doctor } from '../doctor/doctor.ts';
import { setup } from '../setup/setup.ts';

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('check every prerequisite; changes nothing')
    .option('--json', 'the result, and only it, on standard output', false)
    .action(async (options: { json: boolean }) => {
      process.exitCode = await doctor(options);
    });
}

export function setupCommand(): Command {
  return new Command('setup')
    .description('install what is missing on this machine, and start Docker')
    .option('--yes', "don't ask", false)
    .option('--plan', 'list what would be installed and stop', false)
    .action((options: { yes: boolean; plan: boolean }) => setup(options));
}
