import { z } from 'zod';

const absolutePath = z
  .string()
  .regex(/^\/(?!.*(?:\/\/|\/\.\.?(?:\/|$)|\/$)).+/, 'must be an absolute, normalised path');
const mode = z.string().regex(/^[0-7]{4}$/, 'must be four octal digits in quotes, such as "0644"');
const owner = z.string().regex(/^(root|[0-9]+):(root|[0-9]+)$/, 'must be root:root or numeric uid:gid');
const unit = z
  .string()
  .regex(/^[\w@.:\\-]+\.(service|socket|timer|target|mount|slice|path)$/, 'must be a unit name with its suffix');
const packageName = z.string().regex(/^[a-z0-9][a-z0-9+.-]+$/, 'must be a Debian package name');

/** `layer.yaml`: facts about one layer. Closed: an unknown key is an error. */
export const layerSchema = z.strictObject({
  id: z.string().regex(/^[a-z][a-z0-9-]*$/),
  title: z.string().min(1),
  /** One sentence to a user of the image. */
  promise: z.string().min(1),
  /** `planned`: manifest and README only, adds nothing to the image yet. */
  state: z.enum(['active', 'planned']),
  /** Layers (folder names) that must be applied before this one. */
  needs: z.array(z.string()).default([]),
  /** Debian packages; `prepare` installs the union of all layers'. */
  packages: z.array(packageName).default([]),
  /** Literal files and links below `rootfs/`, each with owner and mode on purpose. A link takes no mode. */
  overlay: z
    .record(absolutePath, z.strictObject({ owner: owner.default('root:root'), mode: mode.optional() }))
    .default({}),
  /**
   * Files that the project doesn't have: whoever bakes may give them (`npm run bake -- --NAME FILE`), by name. The layer has to
   * do without them too.
   */
  given: z
    .record(
      z.string().regex(/^[a-z][a-z0-9-]*$/),
      z.strictObject({ path: absolutePath, owner: owner.default('root:root'), mode }),
    )
    .default({}),
  /** What `apply.sh` and `units` do to the tree beyond the overlay. The tree diff test holds it to exactly this. */
  tree: z
    .strictObject({
      added: z.array(absolutePath).default([]),
      changed: z.array(absolutePath).default([]),
      removed: z.array(absolutePath).default([]),
    })
    .default({ added: [], changed: [], removed: [] }),
  units: z
    .strictObject({ enable: z.array(unit).default([]), mask: z.array(unit).default([]) })
    .default({ enable: [], mask: [] }),
});

export type LayerFacts = z.output<typeof layerSchema>;
