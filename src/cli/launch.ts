import { existsSync, realpathSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { openCloud } from '../clouds/find.ts';
import { Store } from '../clouds/local/store.ts';
import { USER_PATTERN } from '../contract/gate.ts';
import { assignSlug } from '../edge/assign.ts';
import { readInventory } from '../edge/inventory.ts';
import { loadEdgeSecrets } from '../edge/secrets.ts';
import { chooseImage } from '../launch/choose.ts';
import { type Learning, readFront } from '../launch/front.ts';
import { type HostedLaunch, launchHosted } from '../launch/hosted.ts';
import { hasGate, type LocalImage, launchLocal } from '../launch/local/launch.ts';
import { decryptWith, readOperator } from '../launch/operator.ts';
import { outsideBy } from '../launch/outside.ts';
import { operatorFile } from '../launch/places.ts';
import { HOSTED, openMachines } from '../launch/power.ts';
import { hasRecord, type InstanceRecord } from '../launch/records.ts';
import { publicView, renderLaunched } from '../launch/render.ts';
import { findSshKey } from '../launch/ssh-key.ts';
import { readImage } from '../manifest/image.ts';
import { inputError } from '../process/errors.ts';
import { Progress } from '../process/progress.ts';
import { agreed } from './agreed.ts';
import { clearUp, instanceCommands } from './instances.ts';

const EXAMPLES = `
Examples:
  npm run launch                                     the newest image that was baked here, in a machine of this computer
  npm run launch -- --image latest                   what was published to this computer's store
  npm run launch -- --cloud aws --image latest --base debian-13 --front front.json
  npm run launch -- --cloud hetzner --image latest --front front.json --learn channel --from 198.51.100.7/32
  npm run launch -- list
  npm run -s launch -- header local-3f9c2a71 | curl -H @- …    the line that launch prints
  npm run launch -- destroy local-3f9c2a71

docs/launching.md has front.json, and what is made in a cloud. The agent in a local machine can reach what listens on this
computer's loopback, at 10.0.2.2.`;

interface LaunchOptions {
  cloud: string;
  image?: string;
  base?: string;
  region?: string;
  size?: string;
  front?: string;
  learn?: Learning['by'];
  from: string[];
  edge: string;
  slug?: string;
  sshKey?: string;
  user: string;
  wait: boolean;
  keep: boolean;
  plan: boolean;
  yes: boolean;
  json: boolean;
}

export function launchCommand(root: string): Command {
  const command = new Command('launch')
    .description('boot an image as an instance of your own and learn, sealed, how to reach it')
    // What stands after a subcommand is the subcommand's.
    .enablePositionalOptions()
    .addOption(new Option('--cloud <name>', 'where').choices(['local', ...HOSTED]).default('local'))
    .option(
      '--image <image>',
      'a channel (latest), or the ID of what was published; on this computer also a folder, by default dist/latest',
    )
    .option('--base <base>', 'whose channel, where several bases have it')
    .option('--region <region>', "default: the cloud's own settings")
    .option('--size <name>', 'as the cloud calls it; default: the cheapest that OpenClaw runs on')
    .option('--front <file>', 'how requests reach its gate: launch.json without what a launch makes itself')
    .addOption(new Option('--learn <way>', 'how its bundle is learnt').choices(['console', 'url', 'channel']))
    .option('--from <networks...>', 'this computer’s, for --learn channel', [])
    .option('--slug <slug>', 'lead this slug of the auth proxy to it')
    .option('--edge <file>', 'where slugs are', 'edge.yaml')
    .option('--ssh-key <file>', 'public key that may log in; default: ~/.ssh/id_ed25519.pub, else a pair is made')
    .option('--user <name>', 'whom a local gate is told, and OpenClaw takes for its administrator', 'owner@localhost')
    .option('--no-wait', "don't wait until OpenClaw answers")
    .option('--keep', 'leave the folder of a local launch that fails', false)
    .option('--plan', 'say what would happen and stop', false)
    .option('--yes', "don't ask, in a cloud that costs", false)
    .option('--json', 'the instance, and only it, on standard output', false)
    .addHelpText('after', EXAMPLES)
    .action((options: LaunchOptions) => launch(root, options));
  for (const one of instanceCommands()) command.addCommand(one);
  return command;
}

async function launch(root: string, options: LaunchOptions): Promise<void> {
  // Keys, disks and logs: all that is made from here on is its owner's alone.
  process.umask(0o077);
  const { slug, edge } = options;
  if (slug) checkSlug(edge, slug);
  const record = await (options.cloud === 'local' ? local(root, options) : hosted(options));
  if (!record) return;
  // First of all: it stands, and costs, whatever becomes of its slug.
  process.stdout.write(options.json ? `${JSON.stringify(publicView(record))}\n` : renderLaunched(record, options.wait));
  if (slug) await lead(edge, slug, record);
}

/** @throws BuildError (input) where there is none, or somebody is served by it. */
function checkSlug(edge: string, slug: string): void {
  const known = readInventory(edge).instances[slug];
  if (!known) throw inputError('launch', `${edge} has no ${slug}`, 'add it under `instances`, with owner and origin');
  if (hasRecord(known.instance))
    throw inputError(
      'launch',
      `${slug} leads to ${known.instance}`,
      `npm run replace -- ${known.instance}; or another slug`,
    );
}

async function local(root: string, options: LaunchOptions): Promise<InstanceRecord | undefined> {
  const image = await localImage(root, options);
  const { sshKey, user, wait, keep } = options;
  for (const [name, given] of Object.entries({ front: options.front, size: options.size, learn: options.learn }))
    if (given) throw inputError('launch', `--${name} is for clouds`, 'leave it out');
  if (!USER_PATTERN.test(user)) {
    throw inputError(
      'launch',
      `--user ${JSON.stringify(user)} isn't a name that the gate takes`,
      'for example me@example.com',
    );
  }
  if (options.plan) {
    tell(options, { image_id: image.id, gate: image.gate }, [
      `make, where it is missing, the operator's key ${operatorFile()}`,
      `boot an overlay of ${image.id} in QEMU, on a network of its own`,
      'wait for its sealed bundle on the console and open it',
      `forward two ports of 127.0.0.1 at most: to its SSH port${image.gate ? ' and to its gate' : '; this image has no gate'}`,
      "compare the host key that its port shows with the bundle's",
      wait
        ? `wait until OpenClaw answers and the live check has passed${image.gate ? ", then compare the gate's certificate" : ''}`
        : 'leave it to start OpenClaw by itself',
      'keep a record; the machine runs on',
    ]);
    return undefined;
  }
  await clearUp();
  return launchLocal({ image, sshKey, user, wait, keep }, new Progress());
}

/**
 * The image that a path, an ID or a channel names now: a bake moves `dist/latest`, and an overlay must keep its base.
 * @throws BuildError (input) when it isn't whole.
 */
async function localImage(root: string, { image: wanted, base }: LaunchOptions): Promise<LocalImage> {
  const named = resolve(root, wanted ?? 'dist/latest');
  if (wanted && !wanted.includes('/') && !existsSync(named)) {
    const cloud = await openCloud('local', { regions: [] });
    try {
      const { image: id } = await chooseImage(cloud, cloud.regions[0], wanted, base);
      // Nothing is published that lacks a layer: its proof would be red.
      return { id, disk: new Store().disk(id), gate: true };
    } finally {
      cloud.close();
    }
  }
  const dir = existsSync(named) ? realpathSync(named) : named;
  const image = readImage(dir);
  const disk = join(dir, 'disk.qcow2');
  if (!existsSync(disk)) {
    throw inputError('image', `${dir} has no disk.qcow2`, 'name another --image, or bake it again: make bake');
  }
  return { id: image.id, disk, gate: hasGate(image) };
}

async function hosted(options: LaunchOptions): Promise<InstanceRecord | undefined> {
  const { cloud: name, front: file, edge, slug, wait } = options;
  if (!file) throw inputError('launch', `${name} without --front`, 'docs/launching.md has an example of that file');
  const front = readFront(file);
  const machines = await openMachines(name, options.region);
  try {
    const learning = learningOf(options, front.enrolmentUrl, Boolean(machines.console));
    const cloud = await openCloud(name, { regions: [machines.region] });
    const image = await chooseImage(cloud, machines.region, options.image ?? 'latest', options.base).finally(() =>
      cloud.close(),
    );
    if (options.plan) {
      tell(options, { image_id: image.image, region: machines.region, learn: learning.by }, [
        `make, where it is missing, the operator's key ${operatorFile()}`,
        `start ${image.image} (${image.imageId}) in ${machines.region}, ${options.size ?? 'the cheapest that will do'}, behind a firewall that is closed`,
        `learn its sealed bundle by ${learning.by}, and open it`,
        `open the firewall: SSH at its own port, ${front.mode === 'tunnel' ? 'nothing else' : '443 for whom the mode says'}`,
        "compare the host key that its port shows with the bundle's",
        ...(wait ? ['wait until OpenClaw answers and the live check has passed'] : []),
        `keep a record${slug ? `; lead ${slug} of ${edge} to it` : ''}`,
      ]);
      return undefined;
    }
    if (!options.yes && !(await agreed('launch', `start ${image.image} in ${name}, ${machines.region}? It costs`)))
      return undefined;
    await clearUp();
    const { publicKey, privateFile } = await findSshKey(options.sshKey, undefined);
    const keys = { userKeys: [publicKey], privateFile };
    const proxy = learning.by === 'url' ? readInventory(edge).proxy : undefined;
    const launch: HostedLaunch = { image, keys, front, size: options.size, learning, wait };
    return await launchHosted(machines, launch, outsideBy(proxy), new Progress());
  } finally {
    machines.close();
  }
}

/** By the auth proxy where launch.json names one, else by the console where the cloud shows it. */
function learningOf({ learn, from }: LaunchOptions, url: string | undefined, console: boolean): Learning {
  const by = learn ?? (url ? 'url' : console ? 'console' : 'channel');
  if (by === 'console' && !console)
    throw inputError('launch', 'this cloud shows no console', '--learn url, or --learn channel');
  if (by === 'url' && !url)
    throw inputError('launch', '--learn url, and front.json has no enrolmentUrl', 'docs/edge.md, "Enrolment"');
  if (by !== 'channel') return { by };
  if (!from.length)
    throw inputError(
      'launch',
      'from where will it be asked for its bundle?',
      '--from your own address, as 198.51.100.7/32',
    );
  return { by, from };
}

function tell({ cloud, json }: LaunchOptions, about: Record<string, unknown>, steps: string[]): void {
  const plan = { stage: 'launch', cloud, ...about, steps };
  process.stdout.write(json ? `${JSON.stringify(plan)}\n` : `${steps.join('\n')}\n`);
}

/** The instance stands, whatever becomes of this: `edge push` repeats it. */
async function lead(edge: string, slug: string, record: InstanceRecord): Promise<void> {
  const { identity } = await readOperator();
  const code = await decryptWith(identity, record.code_encrypted);
  const reached = await new Progress().step(`lead ${slug} to it`, () =>
    assignSlug(edge, slug, record, code, loadEdgeSecrets()),
  );
  if (reached !== 200)
    process.stderr.write(`${slug}: the proxy has it, and its gate answers ${reached ?? 'nothing'}\n`);
}
