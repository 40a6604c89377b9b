import { mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { inputError } from '../process/errors.ts';

/** Names of instances: they become names of files and hosts. */
export const INSTANCE_ID = /^[a-z0-9][a-z0-9-]{0,62}$/;

/** @throws BuildError (input) for anything that isn't an instance's ID, a path above all. */
export function checkId(id: string): string {
  if (!INSTANCE_ID.test(id)) {
    throw inputError('instances', `${JSON.stringify(id)} isn't an instance's ID`, 'npm run -s launch -- list');
  }
  return id;
}

/** Relative ones are to be ignored: XDG Base Directory Specification 0.8. */
function xdg(variable: string, otherwise: string): string {
  const set = process.env[variable];
  return join(set && isAbsolute(set) ? set : join(homedir(), otherwise), 'clawdy');
}

/** Where records are: `<id>.json`, and beside each what belongs to a local machine, `<id>/`. Made where it isn't there. */
export function instancesDir(): string {
  const dir = join(xdg('XDG_STATE_HOME', '.local/state'), 'instances');
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  return dir;
}

/** The operator's age identity. */
export function operatorFile(): string {
  return join(xdg('XDG_CONFIG_HOME', '.config'), 'operator.age');
}

/** The private half of the operator's SSH key for instances' channels. */
export function opsKeyFile(): string {
  return join(xdg('XDG_CONFIG_HOME', '.config'), 'ops_ed25519');
}

/** Journals of the instances' OpenRouter keys; they hold no key. */
export function keysDir(): string {
  return join(xdg('XDG_STATE_HOME', '.local/state'), 'keys');
}

export function machineDir(id: string): string {
  return join(instancesDir(), checkId(id));
}

/** The keys and the token of the auth proxy's registry. */
export function edgeFile(): string {
  return join(xdg('XDG_CONFIG_HOME', '.config'), 'edge.json');
}

/** What instances have told of whom they have banned. */
export function bansFile(): string {
  return join(xdg('XDG_STATE_HOME', '.local/state'), 'bans.json');
}

/** Journals of launches that haven't come to their end, and of replacements. */
export function launchesDir(): string {
  return join(xdg('XDG_STATE_HOME', '.local/state'), 'launches');
}

export function replacementsDir(): string {
  return join(xdg('XDG_STATE_HOME', '.local/state'), 'replacements');
}
