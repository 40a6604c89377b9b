#!/usr/bin/env node
/** The one entry: a table of contents. Each command is an npm script of the same name. */
import { join } from 'node:path';
import { Command } from 'commander';
import { bakeCommand } from './src/cli/bake.ts';
import { benchCommand } from './src/cli/bench.ts';
import { cleanCommand } from './src/cli/clean.ts';
import { devCommand } from './src/cli/dev.ts';
import { docsCommand } from './src/cli/docs.ts';
import { edgeCommand } from './src/cli/edge.ts';
import { keysCommand } from './src/cli/keys.ts';
import { launchCommand } from './src/cli/launch.ts';
import { lintCommand } from './src/cli/lint.ts';
import { logsCommand } from './src/cli/logs.ts';
import { newLayerCommand } from './src/cli/new-layer.ts';
import { nightlyCommand } from './src/cli/nightly.ts';
import { opsCommand } from './src/cli/ops.ts';
import { doctorCommand, setupCommand } from './src/cli/prerequisites.ts';
import { promoteCommand } from './src/cli/promote.ts';
import { pruneCommand } from './src/cli/prune.ts';
import { publishCommand } from './src/cli/publish.ts';
import { replaceCommand } from './src/cli/replace.ts';
import { rotateCommand } from './src/cli/rotate.ts';
import { shellCommand } from './src/cli/shell.ts';
import { testCommand } from './src/cli/test.ts';
import { verifyCommand } from './src/cli/verify.ts';
import { EXIT, renderError } from './src/process/errors.ts';
import { pathWithSbin } from './src/setup/present.ts';

// A user's PATH on Debian lacks sbin, where sgdisk and mkfs are.
process.env.PATH = pathWithSbin();

const root = join(import.meta.dirname);
const program = new Command('clawdy')
  .description('Golden images for OpenClaw with eight security layers.')
  // A subcommand's options are its own, also where its command has some of the same name.
  .enablePositionalOptions()
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : EXIT.usage));

for (const command of [
  setupCommand(),
  doctorCommand(),
  bakeCommand(root),
  verifyCommand(root),
  publishCommand(root),
  promoteCommand(root),
  pruneCommand(root),
  launchCommand(root),
  replaceCommand(),
  opsCommand(),
  rotateCommand(),
  keysCommand(),
  edgeCommand(root),
  nightlyCommand(root),
  testCommand(root),
  devCommand(root),
  shellCommand(root),
  logsCommand(root),
  lintCommand(root),
  docsCommand(root),
  newLayerCommand(root),
  benchCommand(root),
  cleanCommand(root),
]) {
  // A wrong option is a usage error, told apart from a failed step.
  for (const one of [command, ...command.commands]) {
    one.exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : EXIT.usage));
  }
  program.addCommand(command);
}

for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(EXIT.interrupted));
try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`${renderError(error)}\n`);
  process.exitCode = error instanceof Error && 'exitCode' in error ? Number(error.exitCode) : EXIT.failed;
}
