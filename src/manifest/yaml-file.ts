import { readFileSync } from 'node:fs';
import { LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';
import { inputError } from '../process/errors.ts';

/**
 * Reads one YAML file under a closed schema.
 * @throws BuildError (input) naming file, line and remedy: a misspelt or duplicate key, a wrong type, an unquoted mode.
 */
export function readYaml<Schema extends z.ZodType>(file: string, schema: Schema, step: string): z.output<Schema> {
  const lines = new LineCounter();
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    throw inputError(step, `${file}: can't be read`, 'create it, or remove what refers to it');
  }
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, strict: true });
  const broken = document.errors[0] ?? document.warnings[0];
  if (broken) {
    const at = broken.linePos?.[0].line ?? 1;
    throw inputError(step, `${file}:${at}: ${firstLine(broken.message)}`, 'mend the YAML at that line');
  }
  const parsed = schema.safeParse(document.toJS());
  if (parsed.success) return parsed.data;

  // A misspelt key is also a missing one; its spelling is the remedy.
  const issues = parsed.error.issues;
  const issue = deepest(issues.filter(({ code }) => code === 'unrecognized_keys').concat(issues));
  const path = issue.code === 'unrecognized_keys' ? [...issue.path, issue.keys[0] as string] : issue.path;
  const line = lineOf(path);
  const where = path.length ? ` ${path.join('.')}:` : '';
  throw inputError(step, `${file}:${line}:${where} ${issue.message}`, remedy(issue, schema));

  function lineOf(keys: PropertyKey[]): number {
    for (let length = keys.length; length > 0; length--) {
      const parent = document.getIn(keys.slice(0, length - 1), true) as { items?: unknown[] } | undefined;
      const key = keys[length - 1];
      const pair = parent?.items?.find((item) => (item as { key?: { value?: unknown } }).key?.value === key) as
        | { key: { range?: [number, number, number] } }
        | undefined;
      const node =
        pair?.key ?? (document.getIn(keys.slice(0, length), true) as { range?: [number, number, number] } | undefined);
      if (node?.range) return lines.linePos(node.range[0]).line;
    }
    return 1;
  }
}

/** `file:line` of the first line that holds `text`, for errors found after the schema's; line 1 where none does. */
export function at(file: string, text: string): string {
  const index = readFileSync(file, 'utf8')
    .split('\n')
    .findIndex((line) => line.includes(text));
  return `${file}:${Math.max(index, 0) + 1}`;
}

function firstLine(message: string): string {
  return message.split('\n')[0]?.replace(/ at line \d+, column \d+:?$/, '') ?? message;
}

type Issue = z.core.$ZodIssue;

/** A union reports one branch per alternative; the one that got furthest is what the author meant. */
function deepest(issues: Issue[]): Issue {
  const first = issues[0] as Issue;
  if (first.code !== 'invalid_union') return first;
  const branches = first.errors.filter((branch) => branch.length > 0).map((branch) => deepest(branch as Issue[]));
  branches.sort((a, b) => b.path.length - a.path.length);
  const best = branches[0];
  return best ? ({ ...best, path: [...first.path, ...best.path] } as Issue) : first;
}

function remedy(issue: Issue, schema: z.ZodType): string {
  if (issue.code === 'unrecognized_keys') {
    const known = knownKeys(schema, issue.path);
    return known.length ? `known here: ${known.join(', ')}` : 'remove it, or correct its spelling';
  }
  if (issue.code === 'invalid_type' && issue.path.at(-1) === 'mode') return 'quote the mode: "0644"';
  return 'correct the value';
}

function knownKeys(schema: z.ZodType, path: PropertyKey[]): string[] {
  let at: unknown = schema;
  for (const key of path) at = child(at, key);
  const shape = unwrap(at)?.shape;
  return shape ? Object.keys(shape) : [];
}

interface Node {
  shape?: Record<string, unknown>;
  element?: unknown;
  valueType?: unknown;
  unwrap?: () => unknown;
}

function unwrap(schema: unknown): Node | undefined {
  let node = schema as (Node & { def?: { innerType?: unknown; valueType?: unknown } }) | undefined;
  while (node && !node.shape && !node.element && node.def?.innerType) node = node.def.innerType as typeof node;
  return node;
}

function child(schema: unknown, key: PropertyKey): unknown {
  const node = unwrap(schema) as (Node & { def?: { valueType?: unknown; element?: unknown } }) | undefined;
  if (!node) return undefined;
  if (node.shape && typeof key === 'string') return node.shape[key];
  return typeof key === 'number' ? (node.element ?? node.def?.element) : (node.valueType ?? node.def?.valueType);
}
