import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv } from 'ajv';

/** Of the SDK's types (generate.ts), and which version of it. */
export const SCHEMAS = JSON.parse(readFileSync(join(import.meta.dirname, 'schemas.json'), 'utf8'));

const ajv = new Ajv({ strict: false, allErrors: false });
ajv.addSchema(SCHEMAS, 'cloudflare');

/** Why a request isn't one by the SDK's types; undefined for one that is. */
export function misfit(kind: string, value: unknown): string | undefined {
  const judge = ajv.compile({ $ref: `cloudflare#/definitions/Wanted/properties/${kind}` });
  return judge(value) ? undefined : ajv.errorsText(judge.errors);
}
