import { DescribeImagesCommand, type Filter, type Image } from '@aws-sdk/client-ec2';
import { isGone } from './errors.ts';
import type { Session } from './session.ts';

/** States in which an image will never be usable. */
export const FAILED = new Set(['failed', 'invalid', 'error']);

/** Our own images, all pages; also disabled and deprecated ones. */
export async function describe(
  session: Session,
  region: string,
  { ids, filters = [] }: { ids?: string[]; filters?: Filter[] },
): Promise<Image[]> {
  const found: Image[] = [];
  let next: string | undefined;
  do {
    const page = await session.ask('listing images', async () => {
      try {
        return await session.ec2(region).send(
          new DescribeImagesCommand({
            Owners: ['self'],
            IncludeDeprecated: true,
            IncludeDisabled: true,
            Filters: filters.length > 0 ? filters : undefined,
            // AWS allows pages only where no IDs are given.
            ...(ids ? { ImageIds: ids } : { MaxResults: 1000, NextToken: next }),
          }),
        );
      } catch (error) {
        if (ids && isGone(error)) return { Images: [], NextToken: undefined };
        throw error;
      }
    });
    found.push(...(page.Images ?? []));
    next = page.NextToken;
  } while (next);
  return found;
}

/** The snapshot of an image's root disk. */
export function snapshotIdOf({ BlockDeviceMappings, RootDeviceName }: Image): string | undefined {
  const mappings = BlockDeviceMappings ?? [];
  return (mappings.find(({ DeviceName }) => DeviceName === RootDeviceName) ?? mappings[0])?.Ebs?.SnapshotId;
}
