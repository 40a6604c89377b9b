import { BLOCK_BYTES } from '../../seal/digest.ts';
import type { Price, Volume } from '../cloud.ts';

/**
 * For an estimate: list prices of us-east-1 in US dollars as AWS' pages "Amazon EBS pricing" and "Amazon EC2 on-demand
 * pricing" have had them for years, not asked of AWS. Other regions are dearer, and an account may have terms of its own.
 */
const LIST = {
  /** 1,000 PutSnapshotBlock calls. */
  puts: 0.006,
  /** A GB (2^30 bytes) of a snapshot for a month. */
  snapshot: 0.05,
  /** A GB from one region to another. */
  transfer: 0.02,
  /** An hour of a t3.small. */
  probe: 0.0208,
};

/** A probe boots, is looked at and ended within this. */
const PROBE_MINUTES = 10;
const GB = 1024 ** 3;

/** @see Cloud.price What the snapshot shares with an earlier one isn't billed twice; the price is that of all of it. */
export function price({ sent, held }: Volume, regions: readonly string[]): Price[] {
  const line = (what: string, amount: number, per: Price['per']): Price => ({ what, amount, currency: 'USD', per });
  return regions.flatMap((region, at) => [
    at === 0
      ? line(
          `${region}: ${Math.ceil(sent / BLOCK_BYTES)} blocks sent`,
          (Math.ceil(sent / BLOCK_BYTES) / 1000) * LIST.puts,
          'once',
        )
      : line(`${region}: copied from ${regions[0]}`, (held / GB) * LIST.transfer, 'once'),
    line(
      `${region}: ${PROBE_MINUTES} minutes of a machine that tries the image`,
      (PROBE_MINUTES / 60) * LIST.probe,
      'once',
    ),
    line(`${region}: snapshot, at most`, (held / GB) * LIST.snapshot, 'month'),
  ]);
}
