import type { Front } from './front.ts';

/** What a launcher decides about an instance; the schema is docs/schemas/launch.schema.json. */
export interface LaunchInputs {
  launchId: string;
  /** age recipient that the instance seals its bundle to. */
  recipient: string;
  /** One-time, 43 characters of base64url. */
  token: string;
  /** SSH public keys that may log in. */
  userKeys: string[];
  /** SSH public keys that reach the operators' channel. */
  opsKeys?: string[];
  /** How the gate is reached; undefined for an image without it. */
  gate: Front | undefined;
}

export function launchJson({ gate, ...inputs }: LaunchInputs): Record<string, unknown> {
  return { version: 1, ...inputs, ...gate };
}

/** The one form of user-data that the box takes: docs/adr/0003. JSON is YAML, so no emitter is needed. */
export function userDataOf(launch: Record<string, unknown>): string {
  const entry = { path: '/run/clawdy/launch.json', content: JSON.stringify(launch) };
  return `#cloud-config\n${JSON.stringify({ write_files: [entry] })}\n`;
}
