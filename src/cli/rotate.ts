import { Command } from 'commander';
import { OVERLAP_S } from '../contract/ops.ts';
import { type Inventory, push, readInventory, slugsOf } from '../edge/inventory.ts';
import { loadEdgeSecrets } from '../edge/secrets.ts';
import { decryptWith, encryptTo, type Operator, readOperator } from '../launch/operator.ts';
import { amendRecord, type InstanceRecord, readRecord } from '../launch/records.ts';
import { askGate } from '../ops/ask-gate.ts';
import { ask } from '../ops/channel.ts';
import { chosenRecords, type FleetOptions, fleetOptions, overFleet, tell } from '../ops/fleet.ts';
import { inputError } from '../process/errors.ts';
import { Progress } from '../process/progress.ts';
import { type Parties, revoke, rotate, rotationOf } from '../rotate/rotate.ts';
import { agreed } from './agreed.ts';
import { duration } from './duration.ts';

interface Options extends FleetOptions {
  overlap: number;
  revoke: boolean;
  plan: boolean;
  yes: boolean;
  json: boolean;
  edge?: string;
  ask: boolean;
}

/** Seconds; Cloudflare's KV takes a minute or more until a change is everywhere. */
const EDGE_OVERLAP_S = 120;

const EXAMPLES = `
Examples:
  npm run rotate -- local-3f9c2a71                 no request is lost; the old code ends ten minutes later
  npm run rotate -- --all --overlap 1h --yes
  npm run rotate -- local-3f9c2a71 --revoke        the old code is known to others: it ends now, and traffic is cut

An interrupted rotation is finished by the same command. How it works: docs/rotation.md.`;

export function rotateCommand(): Command {
  const command = new Command('rotate')
    .description("give instances another auth code: into their records, and the gate's")
    .argument('[instance]', 'its ID; or --all')
    .option(
      '--overlap <time>',
      'how long the old code counts on, as 90s, 10m or 2h',
      duration(OVERLAP_S.most),
      OVERLAP_S.default,
    )
    .option('--revoke', 'end the old code at once; traffic is cut until the new one is known', false)
    .option('--edge <file>', "the auth proxy's inventory, edge.yaml: the new code goes into its registry, too")
    .option('--no-ask', "wait for a request of your auth proxy's with the new code, instead of sending one")
    .option('--plan', 'say how the codes stand, and stop', false)
    .option('--yes', "don't ask", false)
    .option('--json', 'the results, and only they, on standard output', false)
    .addHelpText('after', EXAMPLES)
    .action(run);
  for (const option of fleetOptions()) command.addOption(option);
  return command;
}

async function run(instance: string | undefined, options: Options): Promise<void> {
  const { all, yes, plan, json } = options;
  if (all === (instance !== undefined))
    throw inputError('rotate', 'an instance or --all is wanted', 'npm run -s rotate -- --help');
  const records = chosenRecords(all, instance);
  const progress = new Progress();
  if (plan) {
    const rows = await overFleet(records, 'look', options, progress, async (record) => {
      const { phase, seen, secondsLeft } = await rotationOf({ instance: record, ask: asker(record) });
      return { phase, seen, secondsLeft };
    });
    return tell(rows, 'looking', json);
  }
  const operator = await readOperator();
  const inventory = options.edge === undefined ? undefined : readInventory(options.edge);
  if (inventory && !options.revoke && options.overlap < EDGE_OVERLAP_S)
    throw inputError(
      'rotate',
      `--overlap is shorter than a registry in KV needs (${EDGE_OVERLAP_S} s)`,
      'docs/edge.md',
    );
  for (const { instance_id: id } of records)
    if (inventory && slugsOf(inventory, id).length === 0)
      throw inputError(
        'rotate',
        `${options.edge} has no instance ${id}: its proxy would never know`,
        'add it, or leave it out',
      );
  const names = records.map(({ instance_id }) => instance_id).join(', ');
  const question = options.revoke
    ? `cut the traffic of ${names}, and give them other codes?`
    : `give ${names} other codes?`;
  if (!yes && !(await agreed('rotate', question))) return;
  const rows = await overFleet(records, 'rotate', options, progress, async (record, detail) => {
    const parties = partiesOf(record, operator, detail, inventory, options.ask);
    const { rotation, secondsLeft } = options.revoke
      ? await revoke(parties)
      : await rotate(parties, { overlapSeconds: options.overlap });
    return { rotation, old_code_ends_in_seconds: secondsLeft };
  });
  tell(rows, 'rotating', json);
}

const asker = (record: InstanceRecord) => (args: Record<string, unknown>) => ask(record, 'rotate-auth-code', args);

function partiesOf(
  record: InstanceRecord,
  { identity, recipient }: Operator,
  detail: (text: string) => void,
  inventory: Inventory | undefined,
  mayAsk: boolean,
): Parties {
  const id = record.instance_id;
  return {
    instance: record,
    ask: asker(record),
    identity,
    registered: () => decryptWith(identity, readRecord(id).code_encrypted),
    register: async (code) => {
      // First on record: what the proxy has can be pushed again from there.
      amendRecord(id, { code_encrypted: await encryptTo(recipient, code) });
      if (!inventory) return;
      for (const slug of slugsOf(inventory, id)) await push(inventory, slug, record, code, loadEdgeSecrets());
    },
    // With a proxy's registry, what counts is that the proxy gets through: it asks when it is told.
    use: async (code) => (inventory || !mayAsk ? undefined : askGate(record, code)),
    detail,
  };
}
