import { Command, InvalidArgumentError, Option } from 'commander';
import { boxOf } from '../keys/box.ts';
import { KeyJournal } from '../keys/journal.ts';
import { type Caps, openRouterKeys } from '../keys/openrouter.ts';
import { withKeys } from '../keys/retire.ts';
import { type Box, capsOf, disableKeys, revokeKeys, rotateKey } from '../keys/rotate.ts';
import { type InstanceRecord, listRecords } from '../launch/records.ts';
import { type FleetOptions, fleetOptions, overFleet, tell } from '../ops/fleet.ts';
import { inputError, renderError } from '../process/errors.ts';
import { Progress } from '../process/progress.ts';
import { agreed } from './agreed.ts';
import { duration } from './duration.ts';

interface Options extends Pick<FleetOptions, 'concurrency'> {
  user: string;
  instance?: string;
  limit?: number;
  uncapped: boolean;
  reset?: NonNullable<Caps['limitReset']>;
  expires?: number;
  grace: number;
  yes: boolean;
  json: boolean;
}

const DAY_S = 24 * 3600;
const YEAR_S = 366 * DAY_S;

const EXAMPLES = `
Examples:
  npm run keys -- create --user owner@example.com --limit 20 --reset monthly
  npm run -s keys -- list --json
  npm run keys -- rotate --user owner@example.com --grace 24h      with the caps and the life of the one before

OPENROUTER_MANAGEMENT_KEY is taken from the environment alone. What was interrupted is finished by the same command (docs/keys.md).`;

export function keysCommand(): Command {
  const command = new Command('keys')
    .description("users' OpenRouter keys: one for each instance, capped, which its agent uses and can't read")
    .addHelpText('after', EXAMPLES);
  const change = (name: string, description: string) => {
    const one = new Command(name)
      .description(description)
      .requiredOption('--user <user>', 'whose instances, as launch.json names the user')
      .option('--instance <id>', 'this one alone')
      .option('--yes', "don't ask", false)
      .option('--json', 'the results, and only they, on standard output', false);
    for (const option of fleetOptions()) if (option.long !== '--all') one.addOption(option);
    command.addCommand(one);
    return one;
  };
  const capped = (one: Command) =>
    one
      .option(
        '--limit <usd>',
        'what it may spend, in USD; a rotation without has the caps and the life of the key before',
        usd,
      )
      .option('--uncapped', 'no cap of its own: it may spend all that the account has', false)
      .addOption(new Option('--reset <when>', 'when the cap begins anew').choices(['daily', 'weekly', 'monthly']))
      .option('--expires <time>', 'when it ends by itself, as 90d', duration(YEAR_S))
      .option('--grace <time>', 'after which disabled ones are deleted', duration(30 * DAY_S), DAY_S);
  capped(change('create', 'a key for instances that have none')).action((options: Options) => bring(options, true));
  capped(change('rotate', 'another key; the old one is disabled once the new one has arrived')).action(
    (options: Options) => bring(options, false),
  );
  change('disable', 'disable the keys; the next rotation brings another').action((options: Options) =>
    act(options, 'disable', async (box) => {
      const disabled = await disableKeys(openRouterKeys(), box);
      if (!disabled) throw inputError('keys', `${box.id} has no key that works`, 'npm run -s keys -- list');
      return disabled;
    }),
  );
  change('revoke', 'delete the keys at OpenRouter, then take them from the instances').action((options: Options) =>
    act(options, 'revoke', (box) => revokeKeys(openRouterKeys(), box)),
  );
  command
    .command('list')
    .description('the keys that this tool has made, and what they have spent')
    .option('--user <user>', 'of this user')
    .option('--json', 'as JSON', false)
    .action(list);
  return command;
}

function usd(text: string): number {
  if (!/^\d{1,7}(\.\d{1,2})?$/.test(text)) throw new InvalidArgumentError('an amount in USD, as 20 or 7.50');
  return Number(text);
}

function bring(options: Options, first: boolean): Promise<void> {
  const { limit, uncapped, reset, expires, grace } = options;
  if (uncapped && limit !== undefined) throw inputError('keys', '--limit and --uncapped together', 'one of them');
  if (reset && limit === undefined) throw inputError('keys', '--reset without --limit resets nothing', 'add --limit');
  if (first && limit === undefined && !uncapped)
    throw inputError('keys', 'what may it spend?', '--limit in USD, or --uncapped');
  const expiresAt = expires === undefined ? null : new Date(Date.now() + expires * 1000);
  const given: Caps | undefined =
    limit !== undefined || uncapped ? { limit: limit ?? null, limitReset: reset ?? null, expiresAt } : undefined;
  const api = openRouterKeys();
  return act(options, first ? 'create' : 'rotate', async (box, detail) => {
    if (first && KeyJournal.open(box.id).keys.some(({ phase }) => phase === 'current'))
      throw inputError('keys', `${box.id} has a key already`, 'rotate it');
    const caps = given ?? (await capsOf(api, box));
    if (!caps) throw inputError('keys', `${box.id} has no key whose caps another could have`, '--limit, or --uncapped');
    const life = expires === undefined ? {} : { expiresAt };
    return rotateKey(api, box, { caps: { ...caps, ...life }, graceMs: grace * 1000, detail });
  });
}

async function act(
  options: Options,
  what: string,
  work: (box: Box, detail: (text: string) => void) => Promise<unknown>,
): Promise<void> {
  const records = instancesOf(options);
  const names = records.map(({ instance_id }) => instance_id).join(', ');
  if (!options.yes && !(await agreed('keys', `${what} the OpenRouter keys of ${names}?`))) return;
  const fleet = { ...options, all: false };
  await withKeys(async () => {
    const rows = await overFleet(records, `${what} key`, fleet, new Progress(), (record, detail) =>
      work(boxOf(record), detail),
    );
    tell(rows, `keys ${what}`, options.json);
  });
}

/** @throws BuildError (input) where the user has none. */
function instancesOf({ user, instance }: Options): InstanceRecord[] {
  const { records, faults } = listRecords();
  for (const fault of faults) process.stderr.write(`${renderError(fault)}\n`);
  const found = records.filter((one) => one.user === user && (!instance || one.instance_id === instance));
  if (found.length > 0) return found;
  throw inputError('keys', `${user} has no ${instance ?? 'instance'} here`, 'npm run -s launch -- list');
}

async function list({ user, json }: { user?: string; json: boolean }): Promise<void> {
  const keys = (await openRouterKeys().list())
    .map((key) => ({ ...key, of: /^clawdy\/(.+)\/([^/]+)\/[0-9a-f]+$/.exec(key.name) }))
    .filter(({ of }) => of && (!user || of[1] === user))
    .map(({ of, hash, disabled, limit, limitRemaining, limitReset, usage, expiresAt }) => ({
      ...{ user: of?.[1], instance: of?.[2], hash, disabled, limit, limit_remaining: limitRemaining },
      ...{ limit_reset: limitReset, usage, expires: expiresAt?.toISOString() ?? null },
    }));
  if (json) {
    process.stdout.write(`${JSON.stringify(keys)}\n`);
    return;
  }
  for (const { user, instance, hash, disabled, limit, usage, limit_reset, expires } of keys) {
    const cap = limit === null ? 'no cap' : `of ${limit} USD${limit_reset ? ` ${limit_reset}` : ''}`;
    const end = expires ? `, until ${expires.slice(0, 10)}` : '';
    const state = disabled ? ', disabled' : '';
    process.stdout.write(
      `${user}  ${instance}  ${hash.slice(0, 12)}  ${usage.toFixed(2)} USD spent, ${cap}${end}${state}\n`,
    );
  }
}
