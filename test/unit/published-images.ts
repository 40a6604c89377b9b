import type { CloudImage } from '../../src/clouds/cloud.ts';
import type { MemoryCloud } from '../fakes/memory-cloud.ts';

export const BASE = 'debian-13';
export const NOW = Date.parse('2026-11-25T00:00:00Z');
export const daysAgo = (days: number) => new Date(NOW - days * 24 * 3600_000).toISOString();

/** Puts an image into regions of a cloud. */
export function put(
  cloud: MemoryCloud,
  image: string,
  changes: Partial<CloudImage> = {},
  regions: readonly string[] = cloud.regions,
): void {
  for (const region of regions)
    cloud.images.push({
      ...{ region, imageId: `ami-${image}-${region}`, snapshotId: `snap-${image}`, image, base: BASE },
      ...{ digest: '0'.repeat(32), run: `run-${image}`, created: daysAgo(1), proven: true, usedBy: [] },
      ...changes,
      channels: [...(changes.channels ?? [])],
    });
}
