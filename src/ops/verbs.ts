import { bansSchema, originSchema } from '../contract/ops.ts';
import { amendRecord, type InstanceRecord, readRecord } from '../launch/records.ts';
import { BuildError } from '../process/errors.ts';
import { rotateInstanceKey } from '../rotate/instance-key.ts';
import { ask } from './channel.ts';
import { readSigned } from './signed.ts';
import { newNonce, status } from './status.ts';

type Args = Record<string, unknown>;

/** Milliseconds: it looks into fail2ban, which a timer waits for. */
const BANS_LIMIT_MS = 120_000;

/** Verbs of which more is to be done than to ask: what is signed is checked, and what this side has to know is put on record. */
const SPECIAL: Record<string, (record: InstanceRecord, args: Args) => Promise<unknown>> = {
  status,
  bans: async (record) => {
    const nonce = newNonce();
    return readSigned(await ask(record, 'bans', { nonce }, BANS_LIMIT_MS), bansSchema, {
      ...record,
      purpose: 'bans',
      nonce,
    });
  },
  'rotate-instance-key': (record) =>
    rotateInstanceKey({
      instance: record,
      ask: (args) => ask(record, 'rotate-instance-key', args),
      remember: (change) => amendRecord(record.instance_id, change),
    }),
  // Its successor gets those that count.
  'set-user-keys': async (record, args) => {
    const result = await ask(record, 'set-user-keys', args);
    const { launch } = readRecord(record.instance_id);
    if (launch) amendRecord(record.instance_id, { launch: { ...launch, user_keys: args.keys as string[] } });
    return result;
  },
  allow: async (record, args) => {
    const result = await ask(record, 'allow', args);
    const { launch } = readRecord(record.instance_id);
    const front = launch?.front && { ...launch.front, allowlist: args.allowlist as string[] };
    if (launch && front) amendRecord(record.instance_id, { launch: { ...launch, front } });
    return result;
  },
  'set-origin-cert': async (record, args) => {
    const result = await ask(record, 'set-origin-cert', args);
    const origin = originSchema.safeParse(result);
    if (!origin.success)
      throw new BuildError(`ops ${record.instance_id}`, 'set-origin-cert: it answers otherwise', 'docs/ops.md');
    // Whoever speaks to the gate knows it by this very certificate.
    if (args.certificate !== undefined) amendRecord(record.instance_id, { gate_certificate: origin.data.certificate });
    return result;
  },
};

/** Puts a request to an instance, and believes of the answer what has been checked. @throws BuildError */
export function perform(record: InstanceRecord, verb: string, args: Args): Promise<unknown> {
  return (SPECIAL[verb] ?? ((of, given) => ask(of, verb, given)))(record, args);
}
