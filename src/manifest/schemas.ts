import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { journalSchema } from '../publish/journal.ts';
import { claimsSchema } from '../verify/claims/schema.ts';
import { reportSchema } from '../verify/report/schema.ts';
import { imageSchema } from './image.ts';
import { layerSchema } from './layer-schema.ts';
import type { Layer } from './layers.ts';

/** JSON Schemas for docs/schemas, by file name: generated from the definitions that the code itself uses. */
export function jsonSchemas(layers: Layer[]): Record<string, unknown> {
  return {
    'manifest.schema.json': z.toJSONSchema(imageSchema),
    'layer.schema.json': z.toJSONSchema(layerSchema, { io: 'input' }),
    'claims.schema.json': z.toJSONSchema(claimsSchema, { io: 'input' }),
    'launch.schema.json': launchSchema(layers),
    'publications.schema.json': z.toJSONSchema(journalSchema),
    'report.schema.json': z.toJSONSchema(reportSchema),
  };
}

/** The schema of launch.json as the box composes it at boot: rootfs' share, extended by the layers. */
function launchSchema(layers: Layer[]): Record<string, unknown> {
  const shares = layers.flatMap((layer) => (layer.launchSchema ? [layer.launchSchema] : []));
  const documents = shares.map((file) => parse(readFileSync(file, 'utf8')) as Record<string, object>);
  const properties = Object.assign({}, ...documents.map((document) => document.properties)) as object;
  return { ...documents[0], properties };
}

/** Where the generated schemas are kept. */
export function schemaFile(root: string, name: string): string {
  return join(root, 'docs', 'schemas', name);
}

/** A schema as the file holds it. */
export function renderSchema(schema: unknown): string {
  return `${JSON.stringify(schema, null, 2)}\n`;
}
