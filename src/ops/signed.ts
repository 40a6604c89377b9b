import { createPublicKey, verify } from 'node:crypto';
import { z } from 'zod';
import { type Purpose, signedAs, signedSchema } from '../contract/ops.ts';
import { jsonOf } from '../contract/text.ts';
import type { InstanceRecord } from '../launch/records.ts';
import { BuildError } from '../process/errors.ts';

/** Whose word it is: in the middle of a rotation of its key, either may be the one that counts. */
export type Signer = Pick<InstanceRecord, 'instance_id' | 'instance_key'> &
  Partial<Pick<InstanceRecord, 'instance_key_next'>>;

/** What an answer has to fit. */
export interface Expected extends Signer {
  /** For what the instance signed it. */
  purpose: Purpose;
  /** That was asked with. */
  nonce: string;
}

/**
 * What an instance says about itself, once its own key has signed it for this very question.
 * @throws BuildError where it isn't the instance's, fresh, and of the known form.
 */
export function readSigned<Schema extends z.ZodType<{ nonce: string; instanceId: string }>>(
  result: unknown,
  schema: Schema,
  { instance_id: id, instance_key: key, instance_key_next: next, purpose, nonce }: Expected,
): z.output<Schema> {
  const refused = (why: string) =>
    new BuildError(
      `ops ${id}`,
      `what it says of its ${purpose} is not to be believed: ${why}`,
      'look at the instance before you trust it',
    );
  const signed = signedSchema.safeParse(result);
  if (!signed.success) throw refused(`it has another form: ${z.prettifyError(signed.error)}`);
  const { body, signature } = signed.data;
  // An image without layer 07 has no such key, and its record none.
  const signers = key ? [key, ...(next ? [next] : [])] : [];
  if (key && !(signature && signers.some((signer) => isSignedBy(signer, purpose, body, signature))))
    throw refused(signature ? "the signature isn't the instance's" : "it isn't signed");
  const parsed = schema.safeParse(jsonOf(body));
  if (!parsed.success) throw refused(`it has another form: ${z.prettifyError(parsed.error)}`);
  if (parsed.data.nonce !== nonce) throw refused('it is the answer to another question');
  if (parsed.data.instanceId !== id) throw refused(`it is of instance ${parsed.data.instanceId}`);
  return parsed.data;
}

function isSignedBy(key: string, purpose: Purpose, body: string, signature: string): boolean {
  return verify(null, Buffer.from(signedAs(purpose) + body), createPublicKey(key), Buffer.from(signature, 'base64'));
}
