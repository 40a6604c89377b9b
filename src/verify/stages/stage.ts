import { dirname } from 'node:path';
import type { LayerClaim } from '../claims/load.ts';
import type { ClaimResult } from '../report/schema.ts';
import type { Target } from '../targets/target.ts';

/** Who the boxes of claims are. */
export const LAUNCH_ID = 'claims';
export const INSTANCE_ID = 'i-claims';

export const ASLEEP_FILE = '/run/systemd/system/openclaw.service.d/zz-asleep.conf';

/**
 * For claims that don't wait for OpenClaw: it is then as on a box where it has only begun to start, but takes no processor
 * from the attack. Counts from its next start on.
 */
export const ASLEEP = `mkdir -p ${dirname(ASLEEP_FILE)} && printf '[Service]\\nExecStart=\\nExecStart=/usr/bin/sleep infinity\\n' >${ASLEEP_FILE}`;

export type Hold = (box: Target, result: ClaimResult) => Promise<void>;

/** Where claims are run: boxes of one kind, and the hosts around them. */
export interface Stage {
  kind: 'container' | 'vm';
  /**
   * Runs one claim on a box that nothing was done to yet.
   * @param hold is given the box as the sabotage left it, and the result; the box lives until it is done.
   */
  run(claim: LayerClaim, hold?: Hold): Promise<ClaimResult>;
  /** What the first box that was live listened on (listening.ts); undefined where none was looked at. */
  readonly listening?: string[] | undefined;
  close(): Promise<void>;
}
