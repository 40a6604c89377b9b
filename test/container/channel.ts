import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Way } from '../../src/ops/channel.ts';
import type { Signer } from '../../src/ops/signed.ts';
import { run } from '../../src/process/run.ts';
import { waitForLine } from '../../src/verify/stages/ready.ts';
import type { ContainerTarget } from '../../src/verify/targets/container.ts';
import { userData } from '../image.ts';
import { keys, LIVE, LIVE_LIMIT_MS, READY, work } from './boxes.ts';

/** An operator of the channel: the file of their key, and user-data that lets them in. */
export async function newOperator(): Promise<{
  operator: string;
  opsKeys: string[];
  launch: (launchId: string) => string;
}> {
  const operator = join(work, `operator-${Math.random().toString(36).slice(2)}`);
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', operator], { step: 'test' });
  const opsKeys = [readFileSync(`${operator}.pub`, 'utf8').trim()];
  return { operator, opsKeys, launch: (launchId) => userData({ version: 1, launchId, userKeys: [keys.one], opsKeys }) };
}

/** The operator's way to a box that is live. */
export async function wayTo(box: ContainerTarget, id: string, operator: string): Promise<Way & Signer> {
  const port = Number(READY.exec(await waitForLine(box, READY))?.[1]);
  const of = async (path: string) => (await box.exec(`cat /var/lib/clawdy/state/${path}`)).stdout;
  await waitForLine(box, LIVE, LIVE_LIMIT_MS);
  return {
    ...{
      instance_id: id,
      address: box.addresses.v4,
      ops_identity_file: operator,
      instance_key: await of('keys/instance.pub'),
    },
    ssh: { port, host_key: (await of('ssh/ssh_host_ed25519_key.pub')).split(' ').slice(0, 2).join(' ').trim() },
  };
}
