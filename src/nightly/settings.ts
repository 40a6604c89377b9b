import { z } from 'zod';
import { secondsOf } from '../manifest/duration.ts';
import { readYaml } from '../manifest/yaml-file.ts';

/** `10m`, `2h`; seconds. */
const time = z
  .string()
  .refine((text) => secondsOf(text) > 0, 'must be as 90s, 10m or 2h')
  .transform(secondsOf);

/** Percent by which a figure may have grown since the night before; `warn` is said, `stop` promotes nothing. */
const bound = z
  .strictObject({ warn: z.number().positive().default(20), stop: z.number().positive().default(100) })
  .refine(({ warn, stop }) => warn <= stop, 'warn must not be above stop');

/** nightly.yaml, closed: what a night does. */
export const settingsSchema = z.strictObject({
  version: z.literal(1),
  bases: z.array(z.string().min(1)).min(1),
  clouds: z.array(z.strictObject({ name: z.string().min(1), regions: z.array(z.string().min(1)).default([]) })).min(1),
  /** Of the proof; clouds that others pay for want `full`. */
  scope: z.enum(['ci', 'full']).default('full'),
  /** npm ranges within which the runtime follows what is published; without one it stays where it is. */
  update: z.strictObject({ openclaw: z.string().min(1).optional(), node: z.string().min(1).optional() }).prefault({}),
  /** As prune takes them. */
  keep: z.number().int().min(1).max(100).default(3),
  graceDays: z.number().int().min(0).max(365).default(7),
  /** What a stage may take. The defaults are for an emulated guest on two cores. */
  limits: z
    .strictObject({
      ...{ update: time.prefault('10m'), bake: time.prefault('2h'), proof: time.prefault('6h') },
      ...{ publish: time.prefault('4h'), promote: time.prefault('15m'), prune: time.prefault('1h') },
    })
    .prefault({}),
  bounds: z
    .strictObject({ size: bound.prefault({}), bakeSeconds: bound.prefault({}), bootSeconds: bound.prefault({}) })
    .prefault({}),
});
export type Settings = z.output<typeof settingsSchema>;

/** @throws BuildError (input) naming file, line and remedy. */
export function readSettings(file: string): Settings {
  return readYaml(file, settingsSchema, 'nightly');
}
