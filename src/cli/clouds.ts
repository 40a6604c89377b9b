import { InvalidArgumentError, Option } from 'commander';
import type { Cloud } from '../clouds/cloud.ts';
import { cloudNames, openCloud } from '../clouds/find.ts';
import { lockFolders } from '../publish/lock.ts';

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
    .argParser((text: string, before: string[]) => {
      const names = text.split(',').map((name) => name.trim());
      // An unset variable of a script shouldn't mean the default.
      if (names.includes('')) throw new InvalidArgumentError('an empty name');
      return [...before, ...names];
    })
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

/** As withCloud, while nobody else changes what is published from here. */
export function withLockedCloud<T>(
  choice: CloudChoice,
  journals: string,
  work: (cloud: Cloud) => Promise<T>,
): Promise<T> {
  return withCloud(choice, async (cloud) => {
    const release = await lockFolders([journals, ...(cloud.lockDir ? [cloud.lockDir] : [])]);
    try {
      return await work(cloud);
    } finally {
      await release();
    }
  });
}
