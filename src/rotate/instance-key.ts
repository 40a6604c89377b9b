import type { z } from 'zod';
import { instanceKeySchema } from '../contract/ops.ts';
import type { InstanceRecord } from '../launch/records.ts';
import { readSigned, type Signer } from '../ops/signed.ts';
import { newNonce } from '../ops/status.ts';
import { BuildError } from '../process/errors.ts';

type Keys = z.output<typeof instanceKeySchema>;

/** A rotation of the key with which an instance signs. */
export interface KeyParties {
  /** As its record says now. */
  instance: Signer & { instance_key_next: InstanceRecord['instance_key_next'] };
  /** Puts a request to the instance's `rotate-instance-key`. */
  ask: (args: Record<string, unknown>) => Promise<unknown>;
  /** Writes into the record. */
  remember: (change: Pick<InstanceRecord, 'instance_key_next'> & Partial<Pick<InstanceRecord, 'instance_key'>>) => void;
}

/**
 * Gives an instance another key to sign with. The key that is trusted names the next one, which is on record before it counts; so an
 * answer that was lost leaves no instance whose word can't be checked, and the next call ends what this one began.
 *
 * @throws BuildError where the instance can't be reached or believed.
 */
export async function rotateInstanceKey({ instance, ask, remember }: KeyParties): Promise<{ instance_key: string }> {
  const step = async (name: string, signer: Signer): Promise<Keys> => {
    const nonce = newNonce();
    return readSigned(await ask({ step: name, nonce }), instanceKeySchema, {
      ...{ ...signer, purpose: 'instance-key', nonce },
    });
  };
  const { instance_id, instance_key_next } = instance;
  const count = (key: string) => {
    remember({ instance_key: key, instance_key_next: null });
    return { instance_key: key };
  };
  const now = await step('status', instance);
  // An earlier call's commit, whose answer was lost.
  if (now.instanceKey === instance_key_next) return count(now.instanceKey);
  const { next } = await step('prepare', instance);
  if (!next)
    throw new BuildError(`rotate ${instance_id}`, 'it names no next key', 'look at the instance before you trust it');
  remember({ instance_key_next: next });
  // What signs from here on is the next, or the commit didn't come to pass.
  const done = await step('commit', { instance_id, instance_key: next });
  if (done.instanceKey !== next)
    throw new BuildError(`rotate ${instance_id}`, 'another key counts', 'look at the instance before you trust it');
  return count(next);
}
