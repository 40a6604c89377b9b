import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname, userInfo } from 'node:os';
import { join, resolve } from 'node:path';
import { Command } from 'commander';
import { Night, nightsDir } from '../nightly/night.ts';
import { renderNights } from '../nightly/page.ts';
import { runNight } from '../nightly/run.ts';
import { readSettings, type Settings } from '../nightly/settings.ts';
import { ARGS, performer } from '../nightly/stages.ts';
import { tellNight, webhookOf } from '../nightly/tell.ts';
import { hashOf } from '../plan/hash.ts';
import { BuildError, EXIT } from '../process/errors.ts';
import { Progress } from '../process/progress.ts';
import { lockFolders } from '../publish/lock.ts';

interface Options {
  settings: string;
  plan: boolean;
  json: boolean;
}

const EXAMPLES = `
Examples:
  npm run nightly -- --plan            the stages of a night, and stop
  npm run nightly                      a night; one that was cut short is finished by the next run
  npm run -s nightly -- --json         its journal on standard output

Exit code 0: promoted, or nothing new; 1: red, and the line says why. CLAWDY_NIGHTLY_WEBHOOK is told the line. docs/nightly.md has an example
of nightly.yaml, the systemd timer, and the pipeline on GitHub.`;

export function nightlyCommand(root: string): Command {
  return new Command('nightly')
    .description(
      'a whole night: update, bake, proof, publish, promote, prune; nothing is promoted unless all it needs is green',
    )
    .option('--settings <file>', 'what a night does', 'nightly.yaml')
    .option('--plan', 'show the stages and stop', false)
    .option('--json', "the night's journal, and only it, on standard output", false)
    .addHelpText('after', EXAMPLES)
    .action((options: Options) => run(root, options));
}

async function run(root: string, options: Options): Promise<void> {
  const settings = readSettings(resolve(root, options.settings));
  const webhook = webhookOf();
  if (options.plan) {
    const steps = planOf(settings);
    process.stdout.write(options.json ? `${JSON.stringify(steps)}\n` : `${steps.join('\n')}\n`);
    return;
  }
  const [progress, nights] = [new Progress(), nightsDir(root)];
  const release = await locked(nights);
  try {
    const { night, resumed } = Night.open(nights, hashOf(settings));
    if (resumed) progress.say(`night ${night.record.id} was cut short: it goes on`);
    const earlier = Night.all(nights).filter(({ record }) => record.id !== night.record.id);
    const record = await runNight({ root, settings, night, earlier, perform: performer(root) }, progress);
    const page = join(nights, 'index.html');
    writeFileSync(page, renderNights([...earlier.map((one) => one.record), record]));
    if (options.json) process.stdout.write(`${JSON.stringify(record)}\n`);
    progress.say(`${record.verdict === 'red' ? '✖' : '✔'} night ${record.id}: ${record.said}`);
    progress.say(`all nights: ${page}`);
    if (record.verdict === 'red') process.exitCode = EXIT.failed;
    if (webhook) await tellNight(webhook, record);
  } finally {
    await release();
  }
}

/** Who has the lock is written beside it. */
async function locked(nights: string): Promise<() => Promise<void>> {
  const owner = join(nights, 'owner.json');
  try {
    const release = await lockFolders([nights], 'a night');
    const { username } = userInfo();
    const mine = { pid: process.pid, host: hostname(), user: username, since: new Date().toISOString() };
    writeFileSync(owner, `${JSON.stringify(mine)}\n`);
    return release;
  } catch (error) {
    if (!(error instanceof BuildError) || !existsSync(owner)) throw error;
    const { message, hint } = error;
    throw new BuildError('lock', `${message}: ${readFileSync(owner, 'utf8').trim()}`, hint);
  }
}

/** The commands of a night, in their order; <image> is what the bake says. */
function planOf(settings: Settings): string[] {
  const { bases, clouds, update, scope } = settings;
  const ranges = Object.entries(update).map(([part, range]) => `${part} ${range}`);
  const words = (args: string[]) => `node build.ts ${args.join(' ')}`;
  return [
    `update: ${ranges.join(', ') || 'nothing'}`,
    ...bases.flatMap((base) => [
      words(ARGS.bake(base)),
      words(ARGS.proof('<image>', scope)),
      ...clouds.map((cloud) => words(ARGS.publish('<image>', cloud))),
      'compare it with the one before, by the bounds',
      ...clouds.map((cloud) => words(ARGS.promote(base, '<image>', cloud))),
    ]),
    ...clouds.map((cloud) => words(ARGS.prune(settings, cloud))),
  ];
}
