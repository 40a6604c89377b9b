import type { LayerClaim } from '../claims/load.ts';
import type { ClaimResult } from '../report/schema.ts';

/** Who the boxes of claims are. */
export const LAUNCH_ID = 'claims';
export const INSTANCE_ID = 'i-claims';

/** Where claims are run: boxes of one kind, and the hosts around them. */
export interface Stage {
  kind: 'container' | 'vm';
  /** Runs one claim on a box that nothing was done to yet. */
  run(claim: LayerClaim): Promise<ClaimResult>;
  close(): Promise<void>;
}
