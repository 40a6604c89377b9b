import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { writeWhole } from '../launch/write-once.ts';
import { inputError } from '../process/errors.ts';

export const STAGES = ['update', 'bake', 'proof', 'publish', 'changes', 'promote', 'prune', 'tidy'] as const;
export type StageName = (typeof STAGES)[number];

const stageSchema = z.strictObject({
  stage: z.enum(STAGES),
  /** Of a base's stages. */
  base: z.string().optional(),
  cloud: z.string().optional(),
  /** Written when it has ended; what needs something that failed isn't there. */
  state: z.enum(['done', 'failed']),
  seconds: z.number(),
  /** What the command printed as JSON. */
  result: z.unknown().optional(),
  /** One line, where it isn't done. */
  why: z.string().optional(),
});
export type StageEntry = z.output<typeof stageSchema>;

const nightSchema = z.strictObject({
  schema: z.literal(1),
  id: z.string().regex(/^\d{8}T\d{6}Z$/),
  started: z.iso.datetime(),
  /** SHA-256 of the settings: a night is taken up only with those that it began with. */
  settings: z.string(),
  stages: z.array(stageSchema),
  ended: z.iso.datetime().optional(),
  verdict: z.enum(['promoted', 'nothing-new', 'red']).optional(),
  /** What is told about it, one line. */
  said: z.string().optional(),
});
export type NightRecord = z.output<typeof nightSchema>;

/** Where nights are kept: CLAWDY_NIGHTS, else `nights/`. Like publications they outlive `make clean`. */
export function nightsDir(root: string): string {
  const dir = resolve(root, process.env.CLAWDY_NIGHTS || 'nights');
  mkdirSync(dir, { recursive: true });
  return dir;
}

/** A night's journal: on disk after each stage, so that a killed night is taken up where it was. */
export class Night {
  readonly record: NightRecord;
  readonly dir: string;

  private constructor(dir: string, record: NightRecord) {
    this.dir = dir;
    this.record = record;
  }

  /**
   * The last night if it was cut short and had these settings, else a new one.
   * @param settings their SHA-256.
   */
  static open(nights: string, settings: string, now = new Date()): { night: Night; resumed: boolean } {
    const last = Night.all(nights).at(-1);
    if (last && !last.record.ended && last.record.settings === settings) {
      // What had failed before the cut may have failed of what cut it.
      last.record.stages = last.record.stages.filter(({ state }) => state === 'done');
      return { night: last, resumed: true };
    }
    const id = now.toISOString().replaceAll(/[-:]|\.\d+/g, '');
    const dir = join(nights, id);
    mkdirSync(join(dir, 'logs'), { recursive: true });
    const night = new Night(dir, { schema: 1, id, started: now.toISOString(), settings, stages: [] });
    night.#write();
    return { night, resumed: false };
  }

  /** All nights, oldest first. @throws BuildError (input) for one that can't be read. */
  static all(nights: string): Night[] {
    return readdirSync(nights)
      .filter((name) => /^\d{8}T\d{6}Z$/.test(name) && existsSync(join(nights, name, 'night.json')))
      .sort()
      .map((name) => Night.#read(join(nights, name)));
  }

  static #read(dir: string): Night {
    const file = join(dir, 'night.json');
    let document: unknown;
    try {
      document = JSON.parse(readFileSync(file, 'utf8'));
    } catch {
      document = undefined;
    }
    const parsed = nightSchema.safeParse(document);
    if (parsed.success) return new Night(dir, parsed.data);
    const why = z.prettifyError(parsed.error);
    throw inputError('nightly', `${file} can't be read: ${why}`, `put it back, or move ${dir} away`);
  }

  find(stage: StageName, base?: string, cloud?: string): StageEntry | undefined {
    return this.record.stages.find((one) => one.stage === stage && one.base === base && one.cloud === cloud);
  }

  add(entry: StageEntry): void {
    this.record.stages.push(entry);
    this.#write();
  }

  end(verdict: NonNullable<NightRecord['verdict']>, said: string): void {
    Object.assign(this.record, { verdict, said, ended: new Date().toISOString() });
    this.#write();
  }

  #write(): void {
    writeWhole(join(this.dir, 'night.json'), `${JSON.stringify(this.record, null, 2)}\n`, 'always');
  }
}
