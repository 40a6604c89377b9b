import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { PREREQUISITES, type Prerequisite } from './prerequisites.ts';

/** Debian leaves these out of an ordinary user's PATH, though an ordinary user may run what is in them. */
const SBIN = ['/usr/local/sbin', '/usr/sbin', '/sbin'];

/** The path of a program in PATH or a `sbin` folder, or undefined. Starts no process. */
export function findProgram(name: string): string | undefined {
  return pathWithSbin()
    .split(delimiter)
    .map((folder) => join(folder, name))
    .find(isExecutable);
}

/** True when all of its programs, one of `oneOf` and one of its files are on this machine, where it names any. */
export function isPresent({ programs = [], oneOf = [], files = [] }: Prerequisite): boolean {
  return (
    programs.every(findProgram) &&
    (oneOf.length === 0 || oneOf.some(findProgram)) &&
    (files.length === 0 || files.some((file) => existsSync(file)))
  );
}

/** A PATH in which an ordinary user finds sgdisk and mkfs too; build.ts sets it once for all children. */
export function pathWithSbin(path = process.env.PATH ?? ''): string {
  return [...new Set([...path.split(delimiter).filter(Boolean), ...SBIN])].join(delimiter);
}

/** The prerequisites that this machine lacks. Reads the file system only: a few milliseconds. */
export function missing(): Prerequisite[] {
  return PREREQUISITES.filter((prerequisite) => !isPresent(prerequisite));
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
