import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { jsonOf } from '../contract/text.ts';
import { inputError } from '../process/errors.ts';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

/** Base, UTC time, inputs: names files, labels and images in clouds. */
export const imageId = z.string().regex(/^[a-z0-9.-]+-\d{8}T\d{6}Z-[0-9a-f]{8}$/);

/** `manifest.json`: what an image is and what it was made of. The next stage reads only this. */
export const imageSchema = z.strictObject({
  schema: z.literal(1),
  id: imageId,
  created: z.iso.datetime(),
  /** Equal inputs are not baked twice. */
  inputHash: sha256,
  base: z.strictObject({
    id: z.string(),
    sha256,
    /** The vendor's signed image, where the base is one. */
    vendor: z.strictObject({ image: z.string(), sha256, from: z.string() }).optional(),
    /** Which base was asked for and couldn't be reached; such an image is never published. */
    fallback: z.strictObject({ requested: z.string(), reason: z.string() }).optional(),
  }),
  disk: z.strictObject({
    /** SHA-256 of the raw disk; what everything downstream carries. */
    rawSha256: sha256,
    /** Bytes. */
    rawSize: z.number().int().positive(),
    qcow2Size: z.number().int().positive(),
  }),
  layers: z.array(z.strictObject({ name: z.string(), state: z.enum(['active', 'planned']), sha256 })),
  /** Layers left out on purpose; an image with any is never published. */
  without: z.array(z.string()),
  /** Files that layers took from whoever baked; images of before say nothing. */
  given: z.array(z.strictObject({ name: z.string(), sha256 })).default([]),
  /** `name version` of every Debian package, sorted. */
  packages: z.array(z.string()),
  runtime: z.strictObject({ openclaw: z.string(), node: z.string() }),
  accelerator: z.enum(['kvm', 'tcg']),
  /** Key of the prepared tree in the cache. */
  prepared: sha256,
  steps: z.array(z.strictObject({ name: z.string(), seconds: z.number() })),
  seconds: z.number(),
});

export type ImageManifest = z.output<typeof imageSchema>;

/** @throws BuildError (input) when there is no image there, or one of another schema. */
export function readImage(dir: string): ImageManifest {
  const file = join(dir, 'manifest.json');
  if (!existsSync(file)) throw inputError('image', `${dir} holds no image`, 'make bake');
  const parsed = imageSchema.safeParse(jsonOf(readFileSync(file, 'utf8')));
  if (!parsed.success)
    throw inputError('image', `${file}: ${z.prettifyError(parsed.error)}`, 'bake it again: make bake');
  return parsed.data;
}

/**
 * For every stage that hands an image to others.
 * @throws BuildError (input) for an image whose base isn't the one that was asked for.
 */
export function refuseFallback({ id, base }: Pick<ImageManifest, 'id' | 'base'>): void {
  if (!base.fallback) return;
  const { requested, reason } = base.fallback;
  throw inputError(
    'image',
    `${id} is ${base.id} because ${requested} couldn't be reached (${reason})`,
    `bake the one you want by name: make bake BASE=${base.id}, or BASE=${requested}`,
  );
}

/** The newest finished image with these inputs, as a folder. */
export function findImage(dist: string, inputHash: string): string | undefined {
  if (!existsSync(dist)) return undefined;
  return readdirSync(dist, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && entry.name.endsWith(inputHash.slice(0, 8)))
    .map((entry) => join(dist, entry.name))
    .filter(
      (dir) =>
        ['manifest.json', 'disk.qcow2'].every((name) => existsSync(join(dir, name))) &&
        readImage(dir).inputHash === inputHash,
    )
    .sort()
    .at(-1);
}
