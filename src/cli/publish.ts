import { existsSync, realpathSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Command } from 'commander';
import prettyBytes from 'pretty-bytes';
import { readImage } from '../manifest/image.ts';
import { Progress } from '../process/progress.ts';
import { publicationsDir } from '../publish/journal.ts';
import { type PublishPlan, planPublish } from '../publish/plan.ts';
import { requireProof } from '../publish/proof.ts';
import { type PublishResult, publish } from '../publish/publish.ts';
import { agreed } from './agreed.ts';
import { type CloudChoice, cloudOptions, withCloud, withLockedCloud } from './clouds.ts';

interface Options extends CloudChoice {
  image: string;
  plan: boolean;
  yes: boolean;
  json: boolean;
}

const EXAMPLES = `
Examples:
  npm run publish                                            into the store on this computer
  npm run publish -- --cloud aws --region eu-central-1,us-east-1 --plan
  npm run publish -- --cloud aws --region eu-central-1,us-east-1 --yes
  npm run publish -- --cloud hetzner --yes                   with HCLOUD_TOKEN in the environment

What is published is booted there and checked, and is then the cloud's candidate: npm run promote makes it the latest.
An interrupted run is taken up by the next; npm run prune removes what is left of one.`;

export function publishCommand(root: string): Command {
  const command = new Command('publish')
    .description('bring a proven image to a cloud, bit for bit, and boot it there')
    .option('--image <folder>', 'the image', join('dist', process.env.CLAWDY_IMAGE ?? 'latest'))
    .option('--plan', 'say what would be sent and what it costs, and stop', false)
    .option('--yes', "don't ask, where it costs something", false)
    .option('--json', 'the result (or plan), and only it, on standard output', false)
    .addHelpText('after', EXAMPLES)
    .action((options: Options) => run(root, options));
  for (const option of cloudOptions()) command.addOption(option);
  return command;
}

async function run(root: string, options: Options): Promise<void> {
  const named = resolve(root, options.image);
  // A bake moves dist/latest.
  const imageDir = existsSync(named) ? realpathSync(named) : named;
  const image = readImage(imageDir);
  const dir = publicationsDir(root);
  const print = (text: string) => process.stdout.write(`${text}\n`);
  if (options.plan) {
    const plan = await withCloud(options, (cloud) => {
      requireProof(imageDir, image, cloud.proof);
      return planPublish({ imageDir, image, cloud, dir });
    });
    return void print(options.json ? JSON.stringify(plan) : renderPlan(plan));
  }
  const result = await withLockedCloud(options, dir, async (cloud) => {
    requireProof(imageDir, image, cloud.proof);
    const { prices } = await planPublish({ imageDir, image, cloud, dir });
    const costs = prices.map(renderPrice).join('; ');
    if (prices.length && !options.yes && !(await agreed('publish', `publish ${image.id} on ${cloud.name} (${costs})?`)))
      return undefined;
    return publish({ imageDir, image, cloud, dir }, new Progress());
  });
  if (result) print(options.json ? JSON.stringify(result) : render(result));
}

function renderPlan({ image, cloud, regions, prices }: PublishPlan): string {
  return [
    `publish ${image} on ${cloud}`,
    ...regions.map(({ region, state, bytes }) => `  ${region.padEnd(16)} ${state}, would send ${prettyBytes(bytes)}`),
    ...(prices.length ? ['list prices:', ...prices.map((price) => `  ${renderPrice(price)}`)] : ['costs nothing']),
  ].join('\n');
}

function renderPrice({ what, amount, currency, per }: PublishPlan['prices'][number]): string {
  return `${what}: ${amount.toFixed(4)} ${currency} ${per === 'once' ? 'once' : 'a month'}`;
}

function render({ image, cloud, publications }: PublishResult): string {
  const rows = publications.map(
    ({ region, image_id, bytes_sent, bytes_total, seconds }) =>
      `  ${region.padEnd(16)} ${image_id}  ${prettyBytes(bytes_sent)} sent of ${prettyBytes(bytes_total)}, ${seconds} s`,
  );
  return [`published ${image} on ${cloud}; it is the candidate there`, ...rows].join('\n');
}
