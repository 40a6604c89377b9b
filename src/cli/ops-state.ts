import { existsSync } from 'node:fs';
import { z } from 'zod';
import { readOperator } from '../launch/operator.ts';
import type { InstanceRecord } from '../launch/records.ts';
import { loadState, saveState } from '../ops/state.ts';
import { inputError } from '../process/errors.ts';

/** Verbs that move a stream: with a file at this side. */
export const STATE = new Set(['state-export', 'state-import']);

const exportArgs = z.strictObject({ stop: z.boolean().default(false) });
const importArgs = z.strictObject({ documents: z.boolean().default(false) });

/**
 * Saves the agent's home into a file that is not there yet, or gives it one.
 * @throws BuildError (input) for arguments or a file that won't do.
 */
export async function moveHome(record: InstanceRecord, verb: string, args: unknown, file = ''): Promise<unknown> {
  const operator = await readOperator();
  if (verb === 'state-import') return loadState(record, file, operator.identity, parsed(importArgs, verb, args));
  const options = parsed(exportArgs, verb, args);
  if (existsSync(file)) throw inputError('ops', `${file} is there already`, 'name another, or move it away');
  await saveState(record, file, operator, options);
  return { file, ...options };
}

function parsed<S extends z.ZodType>(schema: S, verb: string, args: unknown): z.output<S> {
  const result = schema.safeParse(args);
  if (!result.success) throw inputError('ops', `${verb}: ${z.prettifyError(result.error)}`, 'docs/ops.md');
  return result.data;
}
