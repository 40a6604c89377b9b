import { randomBytes, randomUUID } from 'node:crypto';
import { misfit } from './judge.ts';
import type { StoredRule } from './rules.ts';

export type Row = Record<string, unknown> & { id: string };
export type Body = Record<string, unknown>;

/** What Cloudflare answers instead of what was asked for. */
export class Refusal extends Error {
  readonly status: number;
  readonly code: number;
  constructor(status: number, code: number, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export const newId = () => randomUUID().replaceAll('-', '');

/** @throws Refusal for what isn't of the SDK's form. */
export function judged(kind: string, value: unknown): void {
  const why = misfit(kind, value);
  if (why) throw new Refusal(400, 10_001, why);
}

/** A new row, or another in its place. */
export function kept(rows: Map<string, Row>, method: string, id: string | undefined, body: Body): Row {
  if (method !== 'POST' && !rows.has(id as string)) throw new Refusal(404, 10_404, 'not found');
  const row = { ...body, id: method === 'POST' ? newId() : (id as string) };
  rows.set(row.id, row);
  return row;
}

export function removed(rows: Map<string, unknown>, id: string | undefined): { id: string | undefined } {
  if (!rows.delete(id as string)) throw new Refusal(404, 10_404, 'not found');
  return { id };
}

/** What one zone has. */
export interface FakeZone {
  id: string;
  name: string;
  plan: string;
  settings: Map<string, { value: unknown; editable: boolean }>;
  records: Map<string, Row>;
  certificates: Map<string, Row & { polls: number }>;
  pulls: boolean;
  phases: Map<string, StoredRule[]>;
  fight: boolean;
  /** Of Workers. */
  routes: Map<string, Row>;
  /** What visitors are shown, beside the universal certificate. */
  packs: Row[];
}

/** As a new one has it. */
export function newZone(name: string, plan: string): FakeZone {
  const hsts = { enabled: false, max_age: 0, include_subdomains: false, preload: false, nosniff: false };
  const settings = {
    ...{ ssl: 'full', min_tls_version: '1.0', tls_1_3: 'on', '0rtt': 'off', always_use_https: 'off', websockets: 'on' },
    security_header: { strict_transport_security: hsts },
  };
  return {
    ...{ id: randomBytes(16).toString('hex'), name, plan, pulls: false, fight: false },
    ...{ records: new Map(), certificates: new Map(), phases: new Map(), routes: new Map(), packs: [] },
    settings: new Map(Object.entries(settings).map(([id, value]) => [id, { value, editable: true }])),
  };
}
