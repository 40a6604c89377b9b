import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import type { ServeOptions } from '../../layers/06-cloudflare/edge/node/serve.ts';
import { edgeConfigSchema } from '../contract/edge.ts';
import { readYaml } from '../manifest/yaml-file.ts';
import { inputError } from '../process/errors.ts';
import { loadEdgeSecrets } from './secrets.ts';

const pair = z.strictObject({ certificate: z.string().min(1), key: z.string().min(1) });

/** The auth proxy as a server of one's own; proxy.yaml, closed. Files are beside it. */
const serveSchema = z.strictObject({
  config: edgeConfigSchema,
  /** For all hosts of both domains. */
  tls: pair,
  /** By the CA that launch.json names for mode `direct`. */
  client: pair,
  registry: z.string().min(1),
  address: z.union([z.ipv4(), z.ipv6()]).default('0.0.0.0'),
});

/** @throws BuildError (input) naming file, line and remedy. */
export function readServeConfig(file: string): Omit<ServeOptions, 'log'> {
  const { config, tls, client, registry, address } = readYaml(file, serveSchema, 'edge');
  const at = (name: string) => resolve(dirname(file), name);
  const read = (name: string) => {
    try {
      return readFileSync(at(name), 'utf8');
    } catch {
      throw inputError('edge', `${name} can't be read`, `${file} names files beside it`);
    }
  };
  const pairOf = (names: { certificate: string; key: string }) => ({
    certificate: read(names.certificate),
    key: read(names.key),
  });
  return {
    ...{ config, tls: pairOf(tls), client: pairOf(client), registry: at(registry), address, port: config.port },
    secrets: loadEdgeSecrets().secrets,
  };
}
