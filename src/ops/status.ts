import { randomBytes } from 'node:crypto';
import { type Status, statusSchema } from '../contract/ops.ts';
import { ask, type Way } from './channel.ts';
import { readSigned, type Signer } from './signed.ts';

/** What an answer has to repeat, so that an old one can't be played again. */
export const newNonce = () => randomBytes(18).toString('base64url');

/**
 * Asks an instance how it is, and believes only what its own key has signed for this very question.
 * @throws BuildError where it can't be reached, or the answer isn't to be believed.
 */
export async function status(way: Way & Signer): Promise<Status> {
  const nonce = newNonce();
  return readSigned(await ask(way, 'status', { nonce }), statusSchema, { ...way, purpose: 'status', nonce });
}
