import { existsSync, realpathSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { GATE_HEADERS, USER_PATTERN } from '../contract/gate.ts';
import { hasGate, launchLocal } from '../launch/local/launch.ts';
import { sweep } from '../launch/local/owner.ts';
import { stopLocal } from '../launch/local/stop.ts';
import { decryptWith, readOperator } from '../launch/operator.ts';
import { operatorFile } from '../launch/places.ts';
import { listRecords, readRecord } from '../launch/records.ts';
import { publicView, renderLaunched, renderTable } from '../launch/render.ts';
import { type ImageManifest, readImage } from '../manifest/image.ts';
import { EXIT, inputError, renderError } from '../process/errors.ts';
import { isAlive } from '../process/guarded.ts';
import { Progress } from '../process/progress.ts';
import { agreed } from './agreed.ts';

const EXAMPLES = `
Examples:
  npm run launch                                     the newest image, in a machine of this computer
  npm run launch -- --ssh-key ~/.ssh/work.pub        with this key
  npm run launch -- list
  npm run -s launch -- header local-3f9c2a71 | curl -H @- …    the line that launch prints
  npm run launch -- stop local-3f9c2a71

The agent in a local machine can reach what listens on this computer's loopback, at 10.0.2.2.`;

interface LaunchOptions {
  cloud: 'local';
  image: string;
  sshKey?: string;
  user: string;
  wait: boolean;
  keep: boolean;
  plan: boolean;
  json: boolean;
}

export function launchCommand(root: string): Command {
  const command = new Command('launch')
    .description('boot an image as an instance of your own and learn, sealed, how to reach it')
    // What stands after a subcommand is the subcommand's.
    .enablePositionalOptions()
    .addOption(new Option('--cloud <name>', 'where').choices(['local']).default('local'))
    .option('--image <folder>', 'the image', 'dist/latest')
    .option('--ssh-key <file>', 'public key that may log in; default: ~/.ssh/id_ed25519.pub, else a pair is made')
    .option('--user <name>', 'whom the gate is told, and OpenClaw takes for its administrator', 'owner@localhost')
    .option('--no-wait', "don't wait until OpenClaw answers")
    .option('--keep', 'leave the folder of a launch that fails', false)
    .option('--plan', 'say what would happen and stop', false)
    .option('--json', 'the instance, and only it, on standard output', false)
    .addHelpText('after', EXAMPLES)
    .action((options: LaunchOptions) => launch(root, options));
  command.addCommand(listCommand());
  command.addCommand(stopCommand());
  command.addCommand(headerCommand());
  return command;
}

async function launch(root: string, options: LaunchOptions): Promise<void> {
  const { imageDir, image } = imageAt(resolve(root, options.image));
  if (!USER_PATTERN.test(options.user)) {
    throw inputError(
      'launch',
      `--user ${JSON.stringify(options.user)} isn't a name that the gate takes`,
      'for example me@example.com',
    );
  }
  if (options.plan) {
    const plan = planLaunch(image, options);
    process.stdout.write(options.json ? `${JSON.stringify(plan)}\n` : `${plan.steps.join('\n')}\n`);
    return;
  }
  // Keys, disks and logs: all that is made from here on is its owner's alone.
  process.umask(0o077);
  clearUp();
  const { sshKey, user, wait, keep } = options;
  const record = await launchLocal({ image, imageDir, sshKey, user, wait, keep }, new Progress());
  process.stdout.write(options.json ? `${JSON.stringify(publicView(record))}\n` : renderLaunched(record, wait));
}

/**
 * The image that a path names now: a bake moves `dist/latest`, and an overlay must keep its base.
 * @throws BuildError (input) when it isn't whole.
 */
function imageAt(named: string): { imageDir: string; image: ImageManifest } {
  const imageDir = existsSync(named) ? realpathSync(named) : named;
  const image = readImage(imageDir);
  if (!existsSync(join(imageDir, 'disk.qcow2'))) {
    throw inputError('image', `${imageDir} has no disk.qcow2`, 'name another --image, or bake it again: make bake');
  }
  return { imageDir, image };
}

/** Removes what is left of killed launches, and says so. */
function clearUp(): string[] {
  const ids = sweep();
  for (const id of ids) process.stderr.write(`${id}: its launch was killed; what was left of it is removed\n`);
  return ids;
}

function planLaunch(image: ImageManifest, options: LaunchOptions) {
  const gate = hasGate(image);
  return {
    stage: 'launch',
    cloud: options.cloud,
    image_id: image.id,
    gate,
    steps: [
      `make, where it is missing, the operator's key ${operatorFile()}`,
      `boot an overlay of ${image.id} in QEMU, on a network of its own`,
      'wait for its sealed bundle on the console and open it',
      `forward two ports of 127.0.0.1 at most: to its SSH port${gate ? ' and to its gate' : '; this image has no gate'}`,
      "compare the host key that its port shows with the bundle's",
      options.wait
        ? `wait until OpenClaw answers and the live check has passed${gate ? ", then compare the gate's certificate" : ''}`
        : 'leave it to start OpenClaw by itself',
      'keep a record; the machine runs on',
    ],
  };
}

function listCommand(): Command {
  return new Command('list')
    .description('the instances that were launched')
    .option('--json', 'as JSON', false)
    .action(({ json }: { json: boolean }) => {
      clearUp();
      const { records, faults } = listRecords();
      // What was launched by other means isn't seen from here.
      const running = records.map(({ qemu }) => (qemu ? isAlive(qemu) : null));
      const list = records.map((record, index) => ({ ...publicView(record), running: running[index] }));
      process.stdout.write(json ? `${JSON.stringify(list)}\n` : renderTable(records, running));
      for (const fault of faults) process.stderr.write(`${renderError(fault)}\n`);
      if (faults.length) process.exitCode = EXIT.input;
    });
}

function stopCommand(): Command {
  return new Command('stop')
    .description('shut an instance down and remove its disk and record')
    .argument('<id>')
    .option('--yes', "don't ask", false)
    .action(async (id: string, { yes }: { yes: boolean }) => {
      if (clearUp().includes(id)) return;
      const record = readRecord(id);
      const what =
        record.cloud === 'local'
          ? `stop ${id} and remove its disk, for good?`
          : `forget ${id}? It runs on: end it where it was launched`;
      if (!yes && !(await agreed('stop', what))) return;
      await stopLocal(record, new Progress());
    });
}

function headerCommand(): Command {
  return new Command('header')
    .description("print the request header with an instance's code: for a pipe, not for a screen")
    .argument('<id>')
    .option('--show', 'on a terminal too', false)
    .action(async (id: string, { show }: { show: boolean }) => {
      const record = readRecord(id);
      if (process.stdout.isTTY && !show) {
        throw inputError(
          'header',
          "the code isn't shown on a terminal",
          `pipe it: … header ${id} | curl -H @- …, or add --show`,
        );
      }
      const { identity } = await readOperator();
      const name = GATE_HEADERS.code.replaceAll(/\b[a-z]/g, (letter) => letter.toUpperCase());
      process.stdout.write(`${name}: ${await decryptWith(identity, record.code_encrypted)}\n`);
    });
}
