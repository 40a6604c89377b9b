import { Option } from 'commander';
import type { Cloud } from '../clouds/cloud.ts';
import { cloudNames, openCloud } from '../clouds/find.ts';
import { lockCloud } from '../publish/lock.ts';

/** Options that every command has which talks to a cloud. */
export interface CloudChoice {
  cloud: string;
  region: string[];
}

export function cloudOptions(): Option[] {
  return [new Option('--cloud <name>', 'where').choices(cloudNames()).default('local'), regionOption()];
}

export function regionOption(): Option {
  return new Option('--region <names>', 'regions, divided by commas; the first is uploaded to, the others get copies')
    .argParser((text: string, before: string[]) => [
      ...before,
      ...text
        .split(',')
        .map((name) => name.trim())
        .filter(Boolean),
    ])
    .default([], "the cloud's own default");
}

/** Gives a cloud to `work` and closes it afterwards. */
export async function withCloud<T>({ cloud, region }: CloudChoice, work: (cloud: Cloud) => Promise<T>): Promise<T> {
  const opened = await openCloud(cloud, { regions: [...new Set(region)] });
  try {
    return await work(opened);
  } finally {
    opened.close();
  }
}

/** As withCloud, while nobody else changes what is published there. */
export function withLockedCloud<T>(
  choice: CloudChoice,
  journals: string,
  work: (cloud: Cloud) => Promise<T>,
): Promise<T> {
  return withCloud(choice, async (cloud) => {
    const release = await lockCloud(cloud.lockDir ?? journals, cloud.name);
    try {
      return await work(cloud);
    } finally {
      await release();
    }
  });
}
