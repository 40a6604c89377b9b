import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { parseDocument } from 'yaml';
import type { InstanceRecord } from '../launch/records.ts';
import { writeWhole } from '../launch/write-once.ts';
import { inputError } from '../process/errors.ts';
import { push, readInventory } from './inventory.ts';
import type { OperatorEdge } from './secrets.ts';

/**
 * Leads a slug to another instance: in edge.yaml, whose comments stay, and at the auth proxy. An origin that is an address
 * becomes the instance's own; one that is a name has to lead there by itself.
 *
 * @param code of the instance's gate.
 * @returns the status that the instance gave the proxy; null where the proxy doesn't reach it.
 * @throws BuildError (input) where edge.yaml has no such slug; where the proxy isn't reached or doesn't take it.
 */
export async function assignSlug(
  file: string,
  slug: string,
  record: Pick<InstanceRecord, 'instance_id' | 'address' | 'gate_certificate'>,
  code: string,
  mine: OperatorEdge,
  ask: typeof fetch = fetch,
): Promise<number | null> {
  const known = readInventory(file).instances[slug];
  if (!known) throw inputError('edge', `${file} has no ${slug}`, 'add it under `instances`, with owner and origin');
  const document = parseDocument(readFileSync(file, 'utf8'));
  document.setIn(['instances', slug, 'instance'], record.instance_id);
  if (isIP(known.origin.host)) document.setIn(['instances', slug, 'origin', 'host'], record.address);
  writeWhole(file, document.toString({ lineWidth: 0 }), 'always');
  return push(readInventory(file), slug, record, code, mine, ask);
}
