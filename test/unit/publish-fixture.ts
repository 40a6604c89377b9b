import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { type ImageManifest, readImage } from '../../src/manifest/image.ts';
import { BuildError } from '../../src/process/errors.ts';
import { Progress } from '../../src/process/progress.ts';
import { Journal } from '../../src/publish/journal.ts';
import { publish } from '../../src/publish/publish.ts';
import { MemoryCloud } from '../fakes/memory-cloud.ts';
import { makeImage } from './launch-fixture.ts';

export const work = mkdtempSync(join(tmpdir(), 'clawdy-publish-'));
test.after.always(() => rmSync(work, { recursive: true, force: true }));
let number = 0;

/** Failures that are meant would look like failures among the results. */
export class Quiet extends Progress {
  override say(): void {}
}

/** An image, a folder for journals, a cloud with two regions, and publishing one in the other. */
export function setting(cloud = new MemoryCloud('one', 'two')) {
  const imageDir = makeImage(join(work, `image-${number}`));
  writeFileSync(join(imageDir, 'blocks.json'), '{"blockBytes":524288,"size":1,"blocks":{"0":"a","2":"b"}}');
  const image = readImage(imageDir);
  const dir = join(work, `journals-${number++}`);
  const inputs = { imageDir, image, cloud, dir };
  const journal = () => Journal.read(dir, image.id) as Journal;
  const states = () => journal().publications.map(({ region, state }) => `${region} ${state}`);
  return { cloud, image, imageDir, dir, inputs, journal, states, publish: () => publish(inputs, new Quiet()) };
}

/** The image as a cloud would list it. */
export const published = (image: ImageManifest) => ({
  ...{ region: 'one', imageId: 'found', snapshotId: 'snap', image: image.id, base: image.base.id, run: 'some-run' },
  ...{ digest: image.disk.rawSha256.slice(0, 32), created: image.created, proven: true, channels: [], usedBy: [] },
});

export const passing = () => new BuildError('memory', 'a passing fault', 'again');
