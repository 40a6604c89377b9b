/** What the Node server is told: one JSON file, and the secrets in another that nobody else may read. */
import { readFileSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { edgeConfigSchema, edgeSecretsSchema } from '../../../../src/contract/edge.ts';

export const nodeSettingsSchema = z.strictObject({
  listen: z.strictObject({ host: z.string().default('::'), port: z.number().int().min(0).max(65_535).default(443) }),
  /** Files, PEM: what browsers see. Wildcards of both domains. */
  tls: z.strictObject({ certificate: z.string(), key: z.string() }),
  /** Files, PEM: what the gates ask for; of a CA in their `direct.clientCa`. */
  client: z.strictObject({ certificate: z.string(), key: z.string() }),
  /** A folder for registry and spent IDs. */
  state: z.string(),
  /** A file of edgeSecretsSchema. */
  secrets: z.string(),
  edge: edgeConfigSchema,
});
export type NodeSettings = z.output<typeof nodeSettingsSchema>;

/**
 * @param file JSON; paths in it are relative to it.
 * @throws Error that names what is wrong.
 */
export function readSettings(file: string): NodeSettings {
  const settings = nodeSettingsSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
  const at = (path: string) => resolve(dirname(file), path);
  const pair = ({ certificate, key }: NodeSettings['tls']) => ({ certificate: at(certificate), key: at(key) });
  const { tls, client, state, secrets } = settings;
  return { ...settings, tls: pair(tls), client: pair(client), state: at(state), secrets: at(secrets) };
}

/** @throws Error where others may read it: it opens every code. */
export function readSecrets(file: string) {
  if (statSync(file).mode & 0o077) throw new Error(`${file} can be read by others: chmod 600 it`);
  return edgeSecretsSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
}
