import { createPublicKey, randomBytes, verify } from 'node:crypto';
import { z } from 'zod';
import { type Status, signedAs, signedStatusSchema, statusSchema } from '../contract/ops.ts';
import type { InstanceRecord } from '../launch/records.ts';
import { BuildError } from '../process/errors.ts';
import { ask, type Way } from './channel.ts';

/**
 * Asks an instance how it is, and believes only what its own key has signed for this very question.
 * @throws BuildError where it can't be reached, or the answer isn't the instance's, fresh, and of the known form.
 */
export async function status(way: Way & Pick<InstanceRecord, 'instance_key'>): Promise<Status> {
  const nonce = randomBytes(18).toString('base64url');
  return readStatus(await ask(way, 'status', { nonce }), { ...way, nonce });
}

/** @throws BuildError as `status` does. @param nonce that was asked with. */
export function readStatus(
  result: unknown,
  {
    instance_id: id,
    instance_key: key,
    nonce,
  }: Pick<InstanceRecord, 'instance_id' | 'instance_key'> & { nonce: string },
): Status {
  const refused = (why: string) =>
    new BuildError(`ops ${id}`, `its status is not to be believed: ${why}`, 'look at the instance before you trust it');
  const signed = signedStatusSchema.safeParse(result);
  if (!signed.success) throw refused(`it has another form: ${z.prettifyError(signed.error)}`);
  const { body, signature } = signed.data;
  // An image without layer 07 has no such key, and its record none.
  if (key && !(signature && isSignedBy(key, body, signature)))
    throw refused(signature ? "the signature isn't the instance's" : "it isn't signed");
  const parsed = statusSchema.safeParse(parse(body));
  if (!parsed.success) throw refused(`it has another form: ${z.prettifyError(parsed.error)}`);
  if (parsed.data.nonce !== nonce) throw refused('it is the answer to another question');
  if (parsed.data.instanceId !== id) throw refused(`it is of instance ${parsed.data.instanceId}`);
  return parsed.data;
}

function isSignedBy(key: string, body: string, signature: string): boolean {
  return verify(null, Buffer.from(signedAs('status') + body), createPublicKey(key), Buffer.from(signature, 'base64'));
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
