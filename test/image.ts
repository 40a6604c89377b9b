import { join } from 'node:path';
import { userDataOf } from '../src/launch/launch-json.ts';
import { type ImageManifest, readImage } from '../src/manifest/image.ts';
import { loadLayers } from '../src/manifest/layers.ts';

export const ROOT = join(import.meta.dirname, '..');

/** The image under test: CLAWDY_IMAGE (a folder below dist), else the newest. */
export const IMAGE_DIR = join(ROOT, 'dist', process.env.CLAWDY_IMAGE ?? 'latest');

/** @throws BuildError: make bake. */
export function imageUnderTest(): ImageManifest {
  return readImage(IMAGE_DIR);
}

export const LAYERS = loadLayers(ROOT);

/** User-data as a launcher hands it to a cloud: one file, launch.json. */
export function userData(launch: Record<string, unknown>): string {
  return userDataOf({ version: 1, launchId: 'test-launch', ...launch });
}
