/**
 * The official model of AWS' APIs, as the SDK's packages carry it at run time: what an operation's input may hold, of which
 * types, and (from their declarations) which values. The fake judges every call by it.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as ebs from '@aws-sdk/client-ebs';
import * as ec2 from '@aws-sdk/client-ec2';
import * as ssm from '@aws-sdk/client-ssm';

export type Service = 'ec2' | 'ebs' | 'ssm';

const MODULES: Record<Service, Record<string, unknown>> = { ec2, ebs, ssm } as never;

export interface Traits {
  xmlName?: string;
  ec2QueryName?: string;
  httpHeader?: string;
  httpQuery?: string;
  httpLabel?: number;
  httpPayload?: number;
}

export type Kind = 'string' | 'number' | 'boolean' | 'time' | 'blob' | 'list' | 'map' | 'struct';

export interface Shape {
  kind: Kind;
  /** Name of a structure, as in the declarations. */
  name: string;
  traits: Traits;
  /** Members of a structure. */
  members: () => Map<string, Shape & { isRequired: boolean }>;
  /** Member of a list or map. */
  item: () => Shape;
}

export interface Operation {
  service: Service;
  name: string;
  http: [method: string, path: string, status: number];
  input: Shape;
  output: Shape;
}

type Raw = unknown[];

/** Bits of the compact form of traits (@smithy/core, translateTraits): the first is httpLabel, the fifth httpPayload. */
function traitsOf(raw: unknown): Traits {
  if (typeof raw === 'number') return { ...(raw & 1 && { httpLabel: 1 }), ...(raw & 16 && { httpPayload: 1 }) };
  return (raw ?? {}) as Traits;
}

function shapeOf(reference: unknown, traits: Traits = {}): Shape {
  let raw = typeof reference === 'function' ? reference() : reference;
  // [schema, traits]: a member with traits of its own. A schema begins with a number and the namespace.
  if (Array.isArray(raw) && raw.length === 2 && !(typeof raw[0] === 'number' && typeof raw[1] === 'string'))
    return shapeOf(raw[0], { ...traitsOf(raw[1]), ...traits });
  if (Array.isArray(raw) && raw[0] === 0) raw = (raw as Raw)[4];
  if (raw === 'unit') return { kind: 'struct', name: 'unit', traits, members: () => new Map(), item: none };
  if (typeof raw === 'number') {
    if (raw >= 128) return { kind: 'map', name: '', traits, members: none, item: () => shapeOf(raw & 63) };
    if (raw >= 64) return { kind: 'list', name: '', traits, members: none, item: () => shapeOf(raw & 63) };
    const kind = ({ 0: 'string', 1: 'number', 2: 'boolean', 21: 'blob', 42: 'blob' } as Record<number, Kind>)[raw];
    return { kind: kind ?? 'time', name: '', traits, members: none, item: none };
  }
  const [id, , name, , a, b] = raw as [number, string, string, unknown, unknown, unknown];
  if (id === 1) return { kind: 'list', name, traits, members: none, item: () => shapeOf((raw as Raw)[4]) };
  if (id === 2) return { kind: 'map', name, traits, members: none, item: () => shapeOf((raw as Raw)[5]) };
  const required = ((raw as Raw)[6] as number | undefined) ?? 0;
  const members = () =>
    new Map((a as string[]).map((key, at) => [key, { ...shapeOf((b as unknown[])[at]), isRequired: at < required }]));
  return { kind: 'struct', name, traits, members, item: none };
}

function none(): never {
  throw new Error('the shape has no such part');
}

/** @returns undefined when the API has no such operation. */
export function operationOf(service: Service, name: string): Operation | undefined {
  const raw = MODULES[service][`${name}$`] as Raw | undefined;
  if (raw?.[0] !== 9) return undefined;
  const http = ((raw[3] as { http?: Operation['http'] })?.http ?? ['POST', '/', 200]) as Operation['http'];
  return { service, name, http, input: shapeOf(raw[4]), output: shapeOf(raw[5]) };
}

/** All operations of a service; EBS' are found by their path. */
export function operationsOf(service: Service): Operation[] {
  return Object.keys(MODULES[service]).flatMap((key) => operationOf(service, key.replace(/\$$/, '')) ?? []);
}

/** What is wrong with an input by the model. */
export class ModelError extends Error {
  readonly problem: 'unknown' | 'missing' | 'type' | 'enum';
  readonly member: string;

  constructor(problem: ModelError['problem'], member: string, message: string) {
    super(message);
    this.problem = problem;
    this.member = member;
  }
}

/** Checks required members and enumerations of a decoded input. @throws ModelError */
export function judge(service: Service, shape: Shape, value: unknown, path = ''): void {
  if (value === undefined) return;
  if (shape.kind === 'list') for (const item of value as unknown[]) judge(service, shape.item(), item, path);
  if (shape.kind !== 'struct') return;
  const given = value as Record<string, unknown>;
  for (const [key, member] of shape.members()) {
    const at = path ? `${path}.${key}` : key;
    if (member.isRequired && given[key] === undefined)
      throw new ModelError('missing', at, `The request must contain the parameter ${at}`);
    const values = enumOf(service, shape.name, key);
    for (const one of values ? [given[key]].flat() : [])
      if (one !== undefined && !values?.includes(one as string))
        throw new ModelError(
          'enum',
          at,
          `Value (${String(one)}) for parameter ${at} is invalid. Known: ${values?.join(', ')}`,
        );
    judge(service, member, given[key], at);
  }
}

/** Values that a member may have, where the model enumerates them. */
export function enumOf(service: Service, structure: string, member: string): string[] | undefined {
  const type = declarations(service).get(structure)?.get(member);
  const values = type ? MODULES[service][type] : undefined;
  return values && typeof values === 'object' && !Array.isArray(values)
    ? Object.values(values as Record<string, string>)
    : undefined;
}

const cache = new Map<Service, Map<string, Map<string, string>>>();

/** Structure → member → type, from the packages' declarations: the schemas themselves say `string` of enumerations. */
function declarations(service: Service): Map<string, Map<string, string>> {
  const known = cache.get(service);
  if (known) return known;
  const root = dirname(dirname(fileURLToPath(import.meta.resolve(`@aws-sdk/client-${service}`))));
  const folder = join(root, 'dist-types', 'models');
  const found = new Map<string, Map<string, string>>();
  for (const file of readdirSync(folder).filter((name) => name.startsWith('models_') && name.endsWith('.d.ts'))) {
    for (const [, name, body] of readFileSync(join(folder, file), 'utf8').matchAll(
      /^export interface (\w+) \{\n(.*?)^\}/gms,
    )) {
      const members = [...(body as string).matchAll(/^ {4}(\w+)\??: (\w+)(?:\[\])? \| undefined;$/gm)];
      found.set(name as string, new Map(members.map(([, member, type]) => [member as string, type as string])));
    }
  }
  cache.set(service, found);
  return found;
}
