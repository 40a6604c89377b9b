import { groupOf } from './groups.ts';
import type { Handler } from './handler.ts';
import { imageOf, snapshotOf } from './images.ts';
import { type FakeInstance, type Region, type Tags, tagsFrom } from './state.ts';
import { ApiError } from './wire.ts';

/** Tags of what is there already. */
export const TAGS: Record<string, Handler> = {
  CreateTags: ({ region }, input) => {
    for (const tags of taggable(region, input.Resources as string[]))
      for (const [key, value] of tagsFrom(input.Tags)) tags.set(key, value);
    return {};
  },

  DeleteTags: ({ region }, input) => {
    const wanted = input.Tags as { Key?: string; Value?: string }[] | undefined;
    for (const tags of taggable(region, input.Resources as string[]))
      for (const key of wanted ? wanted.map(({ Key = '' }) => Key) : [...tags.keys()]) tags.delete(key);
    return {};
  },
};

function volumeOf(region: Region, id: string): FakeInstance {
  const instance = [...region.instances.values()].find(({ volumeId }) => volumeId === id);
  if (!instance || instance.state === 'terminated')
    throw new ApiError('InvalidVolume.NotFound', `The volume '${id}' does not exist.`);
  return instance;
}

function taggable(region: Region, ids: string[]): Tags[] {
  return ids.map((id) => {
    if (id.startsWith('ami-')) return imageOf(region, id).tags;
    if (id.startsWith('snap-')) return snapshotOf(region, id).tags;
    if (id.startsWith('sg-')) return groupOf(region, id).tags;
    if (id.startsWith('vol-')) return volumeOf(region, id).volumeTags;
    const instance = region.instances.get(id);
    if (!instance) throw new ApiError('InvalidInstanceID.NotFound', `The instance ID '${id}' does not exist`);
    return instance.tags;
  });
}
