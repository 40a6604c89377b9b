import { randomBytes, randomUUID } from 'node:crypto';
import type { Front } from './front.ts';
import { launchJson, userDataOf } from './launch-json.ts';
import type { Expected } from './open-bundle.ts';
import { loadOperator, type Operator } from './operator.ts';
import { loadOpsKey } from './ops-key.ts';
import { isTaken } from './records.ts';

/** A launch that hasn't begun: what the machine is given, and what its bundle is then held to. */
export interface Prepared {
  operator: Operator;
  opsKey: { publicKey: string; privateFile: string };
  userData: string;
  expected: Omit<Expected, 'instanceId'>;
}

/**
 * Makes the token and the launch.json of one launch; the operator's keys too, where it is the first.
 * @param userKeys SSH public keys that may log in.
 * @param front undefined: an image without a gate.
 */
export async function prepareLaunch(userKeys: string[], front: Front | undefined): Promise<Prepared> {
  const operator = await loadOperator();
  const opsKey = await loadOpsKey();
  const launchId = randomUUID();
  // A record that can't be read ends the launch now, not when the bundle has come.
  isTaken(launchId);
  const token = randomBytes(32).toString('base64url');
  const { recipient } = operator;
  const launch = launchJson({ launchId, recipient, token, userKeys, opsKeys: [opsKey.publicKey], gate: front });
  return {
    operator,
    opsKey,
    userData: userDataOf(launch),
    expected: { identity: operator.identity, token, launchId, isTaken },
  };
}
