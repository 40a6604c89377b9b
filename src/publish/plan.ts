import { join } from 'node:path';
import { changedBlocks } from '../clouds/blocks.ts';
import type { Cloud, Price } from '../clouds/cloud.ts';
import type { ImageManifest } from '../manifest/image.ts';
import { BLOCK_BYTES } from '../seal/digest.ts';
import { Journal, readBlocks } from './journal.ts';
import { parentOf, publishedOf } from './publish.ts';

/** What publishing would do, and cost; nothing is changed and nothing is asked of the cloud but prices. */
export interface PublishPlan {
  stage: 'publish';
  image: string;
  cloud: string;
  regions: {
    region: string /** As the journal has it. */;
    state: string /** Bytes that would be sent. */;
    bytes: number;
  }[];
  prices: Price[];
}

export async function planPublish({
  imageDir,
  image,
  cloud,
  dir,
}: {
  imageDir: string;
  image: ImageManifest;
  cloud: Cloud;
  dir: string;
}): Promise<PublishPlan> {
  const published = publishedOf(image);
  const journal = Journal.open(dir, published);
  const { blocks } = readBlocks(join(imageDir, 'blocks.json'));
  const [home] = cloud.regions;
  const regions = cloud.regions.map((region) => {
    const state = journal.find(cloud.name, region)?.state ?? 'new';
    const parent = parentOf(dir, cloud.name, { region, image: published });
    const sends = region === home && !['uploaded', 'registered', 'booted', 'recorded'].includes(state);
    const bytes = sends
      ? changedBlocks(blocks, cloud.incremental ? parent?.blocks : undefined).length * BLOCK_BYTES
      : 0;
    return { region, state, bytes };
  });
  const held = Object.keys(blocks).length * BLOCK_BYTES;
  const prices = await cloud.price(published, { sent: regions[0]?.bytes ?? 0, held });
  return { stage: 'publish', image: image.id, cloud: cloud.name, regions, prices };
}
