/** The three wire forms: EC2's query protocol, EBS' REST with JSON, SSM's JSON 1.1. Decoding is by the model, and closed. */
import { ModelError, type Operation, type Service, type Shape } from './model.ts';

export type Values = Record<string, unknown>;

// ── EC2: a form in, XML out ──

/** @throws ModelError for a parameter that the operation hasn't. */
export function fromQuery(operation: Operation, form: URLSearchParams): Values {
  const tree: Tree = new Map();
  for (const [key, value] of form) {
    if (key === 'Action' || key === 'Version') continue;
    let node = tree;
    const parts = key.split('.');
    for (const part of parts.slice(0, -1)) {
      const next = node.get(part);
      if (typeof next === 'string') throw new ModelError('type', key, `The parameter ${key} is not recognized`);
      if (!next) node.set(part, new Map());
      node = node.get(part) as Tree;
    }
    node.set(parts.at(-1) as string, value);
  }
  return queryValue(operation.input, tree, '') as Values;
}

type Tree = Map<string, Tree | string>;

function queryValue(shape: Shape, node: Tree | string, path: string): unknown {
  if (shape.kind === 'struct') {
    if (typeof node === 'string') throw new ModelError('type', path, `The parameter ${path} is not recognized`);
    const byKey = new Map([...shape.members()].map(([name, member]) => [queryKey(name, member), { name, member }]));
    const value: Values = {};
    for (const [key, inner] of node) {
      const at = path ? `${path}.${key}` : key;
      const known = byKey.get(key);
      if (!known) throw new ModelError('unknown', at, `The parameter ${at} is not recognized`);
      value[known.name] = queryValue(known.member, inner, at);
    }
    return value;
  }
  if (shape.kind === 'list') {
    if (typeof node === 'string') throw new ModelError('type', path, `The parameter ${path} is not recognized`);
    const entries = [...node].map(([at, inner]) => [Number(at), inner] as const).sort(([a], [b]) => a - b);
    if (entries.some(([at], index) => at !== index + 1))
      throw new ModelError('type', path, `The parameter ${path} must be numbered from 1`);
    return entries.map(([at, inner]) => queryValue(shape.item(), inner, `${path}.${at}`));
  }
  if (typeof node !== 'string') {
    const at = `${path}.${[...node.keys()][0]}`;
    throw new ModelError('unknown', at, `The parameter ${at} is not recognized`);
  }
  return fromText(shape, node, path);
}

/** As ec2Query names it: its own name, or the XML name with a capital. */
function queryKey(name: string, { traits }: Shape): string {
  if (traits.ec2QueryName) return traits.ec2QueryName;
  const key = traits.xmlName ?? name;
  return key.charAt(0).toUpperCase() + key.slice(1);
}

function fromText(shape: Shape, text: string, path: string): unknown {
  const wrong = () =>
    new ModelError('type', path, `Invalid value '${text.slice(0, 40)}' for ${path}: ${shape.kind} expected`);
  switch (shape.kind) {
    case 'number':
      if (!/^-?\d+(\.\d+)?$/.test(text)) throw wrong();
      return Number(text);
    case 'boolean':
      if (!/^(true|false)$/i.test(text)) throw wrong();
      return text.toLowerCase() === 'true';
    case 'time':
      if (!/^\d{4}-\d\d-\d\dT/.test(text) || Number.isNaN(Date.parse(text))) throw wrong();
      return new Date(text);
    case 'blob':
      return Buffer.from(text, 'base64');
    default:
      return text;
  }
}

/** @throws Error for a member that the operation's output hasn't: the fake must not make things up either. */
export function toXml(operation: Operation, output: Values, requestId: string): string {
  const body = xmlOf(operation.output, output, operation.name);
  return `<?xml version="1.0" encoding="UTF-8"?>\n<${operation.name}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>${requestId}</requestId>${body}</${operation.name}Response>`;
}

function xmlOf(shape: Shape, value: unknown, path: string): string {
  if (shape.kind === 'struct') {
    const members = shape.members();
    return Object.entries(value as Values)
      .filter(([, inner]) => inner !== undefined)
      .map(([key, inner]) => {
        const member = members.get(key);
        if (!member) throw new Error(`the fake answers ${path}.${key}, which AWS' model hasn't`);
        const name = member.traits.xmlName ?? key;
        return `<${name}>${xmlOf(member, inner, `${path}.${key}`)}</${name}>`;
      })
      .join('');
  }
  if (shape.kind === 'list') {
    const item = shape.item();
    const name = item.traits.xmlName ?? 'item';
    return (value as unknown[]).map((inner) => `<${name}>${xmlOf(item, inner, path)}</${name}>`).join('');
  }
  return escapeXml(value instanceof Date ? value.toISOString() : String(value));
}

function escapeXml(text: string): string {
  return text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c] as string);
}

// ── EBS: path, query, headers and body ──

/** Which operation of EBS a request is, and what its path says. */
export function route(
  operations: Operation[],
  method: string,
  path: string,
): { operation: Operation; labels: Values } | undefined {
  const parts = path.replace(/\/$/, '').split('/');
  for (const operation of operations) {
    const [wanted, template] = operation.http;
    const pattern = template.split('/');
    if (wanted !== method || pattern.length !== parts.length) continue;
    const labels: Values = {};
    const fits = pattern.every((part, at) => {
      const label = part.match(/^\{(\w+)\+?\}$/)?.[1];
      if (label) labels[label] = decodeURIComponent(parts[at] as string);
      return label !== undefined || part === parts[at];
    });
    if (fits) return { operation, labels };
  }
  return undefined;
}

/** Headers that belong to HTTP and to signing, not to the operation. */
const COMMON = /^(x-amz-(date|content-sha256|security-token|user-agent|retry.*)|x-amzn-.*)$/;

/** @throws ModelError */
export function fromRest(
  operation: Operation,
  labels: Values,
  query: URLSearchParams,
  headers: Record<string, string | undefined>,
  body: Buffer,
): Values {
  const members = operation.input.members();
  const value: Values = {};
  const rest = new Map<string, Shape>();
  const headersLeft = new Set(Object.keys(headers).filter((name) => name.startsWith('x-amz') && !COMMON.test(name)));
  const queryLeft = new Set(query.keys());
  let payload: string | undefined;
  for (const [name, shape] of members) {
    const { httpHeader, httpQuery, httpLabel, httpPayload } = shape.traits;
    const text = httpHeader
      ? headers[httpHeader.toLowerCase()]
      : httpQuery
        ? (query.get(httpQuery) ?? undefined)
        : httpLabel
          ? (labels[name] as string)
          : undefined;
    if (httpHeader) headersLeft.delete(httpHeader.toLowerCase());
    if (httpQuery) queryLeft.delete(httpQuery);
    if (httpPayload) payload = name;
    else if (!httpHeader && !httpQuery && !httpLabel) rest.set(name, shape);
    if (text !== undefined) value[name] = fromText(shape, text, name);
  }
  for (const name of [...headersLeft, ...queryLeft]) throw new ModelError('unknown', name, `unknown parameter ${name}`);
  if (payload) return { ...value, [payload]: body };
  if (body.length > 0)
    Object.assign(value, fromJson({ ...operation.input, members: () => rest as never }, parse(body), ''));
  return value;
}

// ── SSM, and EBS' bodies: JSON ──

export function parse(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8') || '{}');
  } catch {
    throw new ModelError('type', 'body', 'the body is not JSON');
  }
}

/** @throws ModelError */
export function fromJson(shape: Shape, value: unknown, path: string): unknown {
  const wrong = () => new ModelError('type', path || 'body', `${path || 'body'}: ${shape.kind} expected`);
  switch (shape.kind) {
    case 'struct': {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong();
      const members = shape.members();
      const out: Values = {};
      for (const [key, inner] of Object.entries(value)) {
        const at = path ? `${path}.${key}` : key;
        const member = members.get(key);
        if (!member) throw new ModelError('unknown', at, `unknown parameter ${at}`);
        if (inner !== null) out[key] = fromJson(member, inner, at);
      }
      return out;
    }
    case 'list':
      if (!Array.isArray(value)) throw wrong();
      return value.map((inner) => fromJson(shape.item(), inner, path));
    case 'map':
      if (typeof value !== 'object' || value === null) throw wrong();
      return value;
    case 'time':
      if (typeof value !== 'number') throw wrong();
      return new Date(value * 1000);
    case 'blob':
      return Buffer.from(String(value), 'base64');
    default:
      if (typeof value !== shape.kind) throw wrong();
      return value;
  }
}

/** @throws Error for a member that the operation's output hasn't. */
export function toJson(shape: Shape, value: unknown, path: string): unknown {
  if (value === undefined) return undefined;
  if (shape.kind === 'list') return (value as unknown[]).map((inner) => toJson(shape.item(), inner, path));
  if (shape.kind !== 'struct') return value instanceof Date ? value.getTime() / 1000 : value;
  const members = shape.members();
  return Object.fromEntries(
    Object.entries(value as Values).map(([key, inner]) => {
      const member = members.get(key);
      if (!member) throw new Error(`the fake answers ${path}.${key}, which AWS' model hasn't`);
      return [key, toJson(member, inner, `${path}.${key}`)];
    }),
  );
}

/** Members of an EBS answer that travel as headers. */
export function headersOf(operation: Operation, output: Values): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, { traits }] of operation.output.members())
    if (traits.httpHeader && output[name] !== undefined) headers[traits.httpHeader] = String(output[name]);
  return headers;
}

// ── errors ──

/** An error of the API itself. */
export class ApiError extends Error {
  readonly code: string;
  readonly status: number;

  constructor(code: string, message: string, status = 400) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/** What is wrong by the model, as each service says it. */
export function asApiError(service: Service, error: ModelError): ApiError {
  if (service === 'ebs' || service === 'ssm') return new ApiError('ValidationException', error.message);
  const code = {
    unknown: 'UnknownParameter',
    missing: 'MissingParameter',
    type: 'InvalidParameterValue',
    enum: 'InvalidParameterValue',
  };
  return new ApiError(code[error.problem], error.message);
}

export function errorBody(
  service: Service,
  { code, message }: ApiError,
  requestId: string,
): { type: string; body: string } {
  if (service === 'ec2')
    return {
      type: 'text/xml;charset=UTF-8',
      body: `<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error><Code>${code}</Code><Message>${escapeXml(message)}</Message></Error></Errors><RequestID>${requestId}</RequestID></Response>`,
    };
  if (service === 'ebs') return { type: 'application/json', body: JSON.stringify({ Message: message }) };
  return { type: 'application/x-amz-json-1.1', body: JSON.stringify({ __type: code, message }) };
}
